"""The one file as each of the protocols that are kept in it sees it."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

from observatory.backends.sqlite.database import Database
from observatory.core.errors import Problem, StoreUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Part:
    """A database whose being away is told as that of the protocol it serves."""

    def __init__(self, database: Database, away: type[Problem]) -> None:
        """See a part of a database.

        Args:
            database: where it is kept.
            away: raised instead of StoreUnavailable.
        """
        self._database = database
        self._away = away

    def now(self) -> int:
        """The present in microseconds since the epoch."""
        return self._database.now()

    def submit(self, work: Work[T]) -> Future[T]:
        """See `Database.submit`; the error in the future is the database's own."""
        return self._database.submit(work)

    async def write(self, work: Work[T]) -> T:
        """See `Database.write`."""
        with self._translated():
            return await self._database.write(work)

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        with self._translated():
            return await self._database.read(work)

    async def snapshot(self, work: Work[T]) -> T:
        """See `Database.snapshot`."""
        with self._translated():
            return await asyncio.wrap_future(self._database.snapshot(work))

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except StoreUnavailable as error:
            raise self._away(error.detail, retry_after_s=error.retry_after_s) from error
