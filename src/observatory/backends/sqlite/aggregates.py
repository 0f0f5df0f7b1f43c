"""The aggregates on SQLite: sums, offset and publishers' numbers in one transaction."""

import sqlite3
from functools import lru_cache
from typing import Final
from uuid import uuid4

import msgspec

from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.part import Part
from observatory.core.aggregates import (
    KEPT_S,
    Changes,
    Deltas,
    Mark,
    Measure,
    Position,
    SeriesKey,
    SeriesRow,
    StateCount,
)
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
        # One process has the file, so it knows what it changed; what it found there is new to all.
        self._generation = uuid4().hex
        self._changed_at: dict[tuple[int, int], int] = {}

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

        # Before it is written: whoever reads in between reads these buckets once more than needed.
        for width, bucket_s, *_ in deltas.series:
            self._changed_at[width, bucket_s] = position.offset
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
        self._generation = uuid4().hex
        self._changed_at.clear()

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

    async def changes(self, resolution_s: int, since_s: int, mark: Mark | None) -> Changes:
        """See `Aggregates.changes`."""
        generation = self._generation
        anew = mark is None or mark.generation != generation
        known = -1 if mark is None or anew else mark.offset
        changed = [
            bucket_s
            for (width, bucket_s), offset in self._changed_at.items()
            if width == resolution_s and offset > known
        ]
        wanted = None if anew else msgspec.json.encode(changed).decode()
        query = (
            "SELECT bucket_s, type, queue, measure, bin, count FROM aggregate_series "
            "WHERE resolution_s = ?1 AND bucket_s >= ?2 "
            "AND (?3 IS NULL OR bucket_s IN (SELECT value FROM json_each(?3)))"
        )

        def work(db: sqlite3.Connection) -> Changes:
            offset = db.execute('SELECT "offset" FROM aggregate_position').fetchone()
            here = Mark(generation, 0 if offset is None else offset[0])
            buckets: dict[int, list[tuple[Measure, int]]] = {}
            for bucket_s, *measure, count in db.execute(query, (resolution_s, since_s, wanted)):
                buckets.setdefault(bucket_s, []).append((_measure(*measure), count))
            return Changes(here, anew, buckets)

        return await self._database.read(work)

    async def trim(self, now_s: int) -> None:
        """See `Aggregates.trim`."""
        limits = [(resolution, now_s - kept) for resolution, kept in KEPT_S.items()]
        for width, bucket_s in list(self._changed_at):
            if width in KEPT_S and bucket_s < now_s - KEPT_S[width]:
                del self._changed_at[width, bucket_s]
        await self._database.write(
            lambda db: db.executemany(
                "DELETE FROM aggregate_series WHERE resolution_s = ? AND bucket_s < ?", limits
            )
        )

    async def close(self) -> None:
        """The database is closed by whoever opened it."""


@lru_cache(maxsize=65_536)
def _measure(type: str, queue: str, measure: str, bin: int) -> Measure:
    # The same few thousand stand in every bucket; each is kept once.
    return type, queue, measure, bin


def _add(db: sqlite3.Connection, position: Position, deltas: Deltas) -> None:
    db.executemany(_ADD_STATE, [(*key, n) for key, n in deltas.states.items() if n])
    db.executemany(_ADD_SERIES, [(*key, n) for key, n in deltas.series.items() if n])
    db.executemany(
        "INSERT OR REPLACE INTO aggregate_numbers VALUES (?, ?)", list(position.numbers.items())
    )
