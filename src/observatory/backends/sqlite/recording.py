"""What every change ends with: its history, its commit in the outbox, and the end of runs."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from observatory.backends.sqlite.rows import Row
from observatory.backends.sqlite.sql import statement
from observatory.core.change import Ending, ending
from observatory.core.job import Commit, FinishedAttempt, Transition

FINISH: Final = statement("finish_job")
QUEUE: Final = statement("queue_job")

_encode = msgspec.json.Encoder().encode


def keep_history(db: sqlite3.Connection, kept: Iterable[tuple[int, Transition]]) -> None:
    """Record transitions under their jobs' sequence numbers."""
    db.executemany(
        "INSERT INTO history VALUES (?, ?, ?)",
        [(seq, t.version, _encode(t).decode()) for seq, t in kept],
    )


def number_commit(
    db: sqlite3.Connection, transitions: Sequence[Transition], now: int, publisher: str
) -> Commit:
    """Number the transitions as the publisher's next commit, and leave it to be published."""
    (number,) = db.execute(
        "INSERT INTO publishers VALUES (?1, 1, ?2) ON CONFLICT (id) DO UPDATE "
        "SET last_number = last_number + 1, seen_at = ?2 RETURNING last_number",
        (publisher, now),
    ).fetchone()
    db.execute(
        "INSERT INTO outbox VALUES (?, ?, ?, ?)",
        (publisher, number, now, _encode(transitions).decode()),
    )
    return Commit(publisher, number, tuple(transitions))


def end_runs(
    db: sqlite3.Connection,
    ended: Sequence[tuple[Row, FinishedAttempt]],
    now: int,
    publisher: str,
) -> Commit | None:
    """Record the outcomes of runs; None where there are none."""
    if not ended:
        return None
    updates: list[tuple[Any, ...]] = []
    kept: list[tuple[int, Transition]] = []
    for row, attempt in ended:
        change, transition = ending(row.job, attempt, now)
        updates.append(columns(row.seq, change))
        kept.append((row.seq, transition))
    db.executemany(FINISH, updates)
    db.executemany(
        "INSERT OR REPLACE INTO results VALUES (?, ?)",
        [(row.seq, a.result) for row, a in ended if a.result is not None],
    )
    keep_history(db, kept)
    return number_commit(db, [t for _, t in kept], now, publisher)


def columns(seq: int, change: Ending) -> tuple[Any, ...]:
    """The values of `finish_job.sql`."""
    return (seq, *msgspec.structs.astuple(change)[1:])
