"""The aggregates on SQLite: sums, offset and publishers' numbers in one transaction."""

import sqlite3
from typing import Final

from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.part import Part
from observatory.core.aggregates import KEPT_S, Deltas, Position, SeriesKey, SeriesRow, StateCount
from observatory.core.errors import AggregatesUnavailable, PositionMismatch
from observatory.core.lifecycle import State

_ADD_STATE: Final = (
    "INSERT INTO aggregate_states VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET count = count + excluded.count"
)
_ADD_SERIES: Final = (
    "INSERT INTO aggregate_series VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET count = count + excluded.count"
)


class SqliteAggregates:
    """Aggregates in a SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = Part(database, AggregatesUnavailable)

    async def position(self) -> Position | None:
        """See `Aggregates.position`."""

        def work(db: sqlite3.Connection) -> Position | None:
            row = db.execute('SELECT epoch, "offset" FROM aggregate_position').fetchone()
            numbers = dict(db.execute("SELECT publisher, number FROM aggregate_numbers").fetchall())
            return None if row is None else Position(row[0], row[1], numbers)

        return await self._database.read(work)

    async def apply(self, expected_offset: int, position: Position, deltas: Deltas) -> None:
        """See `Aggregates.apply`."""

        def work(db: sqlite3.Connection) -> None:
            moved = db.execute(
                'UPDATE aggregate_position SET "offset" = ? WHERE epoch = ? AND "offset" = ?',
                (position.offset, position.epoch, expected_offset),
            ).rowcount
            if moved != 1:
                raise PositionMismatch(f"the aggregates are not at offset {expected_offset}")
            _add(db, position, deltas)

        await self._database.write(work)

    async def replace(self, position: Position, deltas: Deltas) -> None:
        """See `Aggregates.replace`."""

        def work(db: sqlite3.Connection) -> None:
            for table in ("states", "series", "numbers", "position"):
                db.execute(f"DELETE FROM aggregate_{table}")  # noqa: S608 - our own names
            db.execute(
                "INSERT INTO aggregate_position VALUES (1, ?, ?)", (position.epoch, position.offset)
            )
            _add(db, position, deltas)

        await self._database.write(work)

    async def invalidate(self) -> None:
        """See `Aggregates.invalidate`."""
        await self._database.write(lambda db: db.execute("DELETE FROM aggregate_position"))

    async def states(self) -> tuple[list[StateCount], int]:
        """See `Aggregates.states`."""

        def work(db: sqlite3.Connection) -> tuple[list[StateCount], int]:
            rows = db.execute("SELECT type, queue, state, count FROM aggregate_states WHERE count")
            counts = [StateCount(t, q, State(s), n) for t, q, s, n in rows]
            offset = db.execute('SELECT "offset" FROM aggregate_position').fetchone()
            return counts, 0 if offset is None else offset[0]

        return await self._database.read(work)

    async def series(
        self, resolution_s: int, since_s: int, type: str | None = None, queue: str | None = None
    ) -> list[SeriesRow]:
        """See `Aggregates.series`."""
        query = (
            "SELECT resolution_s, bucket_s, type, queue, measure, bin, count FROM aggregate_series "
            "WHERE resolution_s = ?1 AND bucket_s >= ?2 AND (?3 IS NULL OR type = ?3) "
            "AND (?4 IS NULL OR queue = ?4)"
        )
        return await self._database.read(
            lambda db: [
                SeriesRow(SeriesKey(*key), count)
                for *key, count in db.execute(query, (resolution_s, since_s, type, queue))
            ]
        )

    async def trim(self, now_s: int) -> None:
        """See `Aggregates.trim`."""
        limits = [(resolution, now_s - kept) for resolution, kept in KEPT_S.items()]
        await self._database.write(
            lambda db: db.executemany(
                "DELETE FROM aggregate_series WHERE resolution_s = ? AND bucket_s < ?", limits
            )
        )

    async def close(self) -> None:
        """The database is closed by whoever opened it."""


def _add(db: sqlite3.Connection, position: Position, deltas: Deltas) -> None:
    db.executemany(_ADD_STATE, [(*key, n) for key, n in deltas.states.items() if n])
    db.executemany(_ADD_SERIES, [(*key, n) for key, n in deltas.series.items() if n])
    db.executemany(
        "INSERT OR REPLACE INTO aggregate_numbers VALUES (?, ?)", list(position.numbers.items())
    )
