"""A job's row as `core/change.py` decides on it."""

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from observatory.backends.sqlite.sql import statement
from observatory.core.change import Current
from observatory.core.errors import NotFound

_SELECT_CURRENT: Final = statement("select_current")

_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """A job and the number of its row."""

    seq: int
    job: Current


def current_rows(db: sqlite3.Connection, ids: Iterable[str]) -> list[Row]:
    """The rows of these jobs, as far as they exist."""
    found = db.execute(_SELECT_CURRENT, (_encode(list(ids)).decode(),))
    return [Row(seq, Current(*job)) for seq, *job in found]


def one_row(db: sqlite3.Connection, job_id: str) -> Row:
    """The row of a job.

    Raises:
        NotFound: there is none.
    """
    rows = current_rows(db, [job_id])
    if not rows:
        raise NotFound(f"there is no job {job_id}")
    return rows[0]
