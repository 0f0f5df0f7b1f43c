"""A transaction as the store's functions see it: statements in, rows out, and the store's clock."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.rows import TupleRow

T = TypeVar("T")


class Transaction:
    """What a write or a read works with. `now` is the store's clock, in microseconds."""

    def __init__(self, connection: psycopg.Connection[TupleRow], now: int, ahead_us: int) -> None:
        self._cursor = connection.cursor()
        self._ahead_us = ahead_us
        self.connection = connection
        self.now = now + ahead_us
        self.numbered: tuple[str, int] | None = None
        """The publisher and the number that this transaction took last."""

    def execute(self, query: bytes, values: Sequence[Any] = ()) -> list[TupleRow]:
        """Run one statement; its rows, none where it returns none."""
        cursor = self._cursor.execute(query, values)
        return cursor.fetchall() if cursor.description is not None else []

    def saw(self, clock: int) -> None:
        """The server's clock was read again."""
        self.now = max(self.now, clock + self._ahead_us)


Work = Callable[[Transaction], T]
"""One write or one read, run in the thread that owns the connection."""


def begin(connection: psycopg.Connection[TupleRow], statements: bytes) -> TupleRow:
    """Begin a transaction; the row of the statement after BEGIN, in the same round trip."""
    # Two statements cannot be prepared as one.
    cursor = connection.execute(statements, prepare=False)
    cursor.nextset()
    (row,) = cursor.fetchall()
    return row
