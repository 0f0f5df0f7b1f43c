"""A PostgreSQL database and the connections to it: one that writes (`writer.py`), one for the
heartbeat, a few that read.

Rules of this file:

1. Each connection belongs to one thread. Cancelling a caller never touches one, so that none is
   left in the middle of a transaction.
2. Nothing outlives a transaction (settings, locks), nor where a pooler stands between do prepared
   statements, so that it may give each transaction another connection.
3. A server that is frozen keeps its connections; a thread that watches the others ends their
   waiting.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg import errors
from psycopg.rows import TupleRow

from observatory.backends.postgres import migrate
from observatory.backends.postgres.connection import Link, Pause, is_lost, raise_translated
from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction, Work, begin
from observatory.backends.postgres.writer import Writer
from observatory.core.errors import QueryTooBroad, StoreUnavailable

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_BEGIN_READ: Final = statement("begin_read")
_BEGIN_SNAPSHOT: Final = statement("begin_snapshot")

_READERS: Final = 4

_READ_WITHIN_S: Final = 10.0
_BEAT_WITHIN_S: Final = 3.0
"""After these a server that keeps the connection and says nothing is given up."""

_STEP_WITHIN_S: Final = 120.0
"""The same for each statement of a long read: the first counts every job."""

_AT_ONCE_S: Final = 1.0
"""A connection that fails sooner than this had died in its sleep; a new one is tried."""


class Database:
    """A database that any number of processes share."""

    def __init__(self, url: str, ahead: Callable[[], int] = lambda: 0) -> None:
        """Set up; nothing is connected before it is needed.

        Args:
            url: of libpq's form.
            ahead: microseconds to add to the server's clock; for tests that move time.
        """
        self._url = url
        self.ahead = ahead
        self._closed = False
        self._links: list[Link] = []
        self._links_lock = threading.Lock()
        self._writer_link = self._link("writer", writes=True)
        self._writer = Writer(self._writer_link, ahead)
        self._heart = self._link("heartbeat", writes=True)
        self._heart_lock = threading.Lock()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_links, name="postgres-watch", daemon=True)
        self._watch.start()
        self._local = threading.local()
        self._readers_pause = Pause()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="postgres-reader")
        self._snapshots = ThreadPoolExecutor(1, thread_name_prefix="postgres-snapshot")

    async def open(self, *, create: bool = False) -> None:
        """See that the database answers and has a schema that this release works with.

        Args:
            create: give an empty database its schema. One that has an older is left alone.

        Raises:
            ConfigurationError: it has another schema, or none.
            StoreUnavailable: it does not answer.
        """
        schema = await self.read(_schema)
        if create and schema is None:
            await asyncio.to_thread(migrate.migrate, self._url)
            schema = await self.read(_schema)
        migrate.check(schema)
        if schema is not None and schema.only_adds:
            _log.warning("store.newer_schema", schema=schema.revision, known=migrate.HEAD)

    # Writing

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run a write, and return once it is committed. Cancelling the caller changes nothing.

        Args:
            work: what writes.
            durable: False where a crash of the server may undo it.

        Raises:
            StoreUnavailable: nothing was recorded, or, as the text then says, nobody knows.
            RowRefused: the data of this write cannot be recorded.
        """
        return await asyncio.wrap_future(self._writer.submit(work, durable=durable))

    # The heartbeat

    def beat(self, work: Work[T]) -> T:
        """Run one statement on the connection of the heartbeat, blocking.

        Raises:
            StoreUnavailable: no answer came in time.
        """
        with self._heart_lock:
            began = time.monotonic()
            for again in (True, False):
                connection = self._heart.connection()
                self._heart.expect_within(_BEAT_WITHIN_S)
                try:
                    return work(Transaction(connection, 0, self.ahead()))
                except psycopg.Error as error:
                    lost = is_lost(error, connection)
                    if lost:
                        self._heart.drop()
                    if not (lost and again and time.monotonic() < began + _AT_ONCE_S):
                        raise_translated(error)
                finally:
                    self._heart.expect_within(None)
        raise AssertionError("unreachable")

    # Reading

    async def read(self, work: Work[T]) -> T:
        """Run a read in one snapshot, apart from the writer.

        Raises:
            QueryTooBroad: a statement of it would take longer than two seconds.
            StoreUnavailable: the server does not answer.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Work[T]) -> T:
        link: Link | None = getattr(self._local, "link", None)
        if link is None:
            link = self._local.link = self._link("reader", writes=False, pause=self._readers_pause)
        began = time.monotonic()
        for again in (True, False):
            connection = link.connection()
            link.expect_within(_READ_WITHIN_S)
            try:
                return self._in_snapshot(connection, _BEGIN_READ, work)
            except errors.QueryCanceled as error:
                raise QueryTooBroad(
                    "the query reads too much; narrow it by state, type, queue or time",
                    retry_after_s=1,
                ) from error
            except psycopg.Error as error:
                lost = is_lost(error, connection)
                if not (lost and again and time.monotonic() < began + _AT_ONCE_S):
                    raise_translated(error)
            finally:
                link.expect_within(None)
                if not connection.closed and connection.info.transaction_status:
                    link.drop()
        raise AssertionError("unreachable")

    async def snapshot(self, work: Work[T]) -> T:
        """Run a long read in one snapshot, on a connection of its own. Each of its statements has
        a deadline; the whole has none."""
        if self._closed:
            raise StoreUnavailable("the store is closed")

        def run() -> T:
            link = self._link("snapshot", writes=False)

            def step() -> None:
                link.expect_within(_STEP_WITHIN_S)

            def stepwise(db: Transaction) -> T:
                return work(_Stepwise(db, step))

            try:
                connection = link.connection()
                step()
                return self._in_snapshot(connection, _BEGIN_SNAPSHOT, stepwise)
            except psycopg.Error as error:
                raise_translated(error)
            finally:
                self._unlink(link)

        return await asyncio.get_running_loop().run_in_executor(self._snapshots, run)

    def _in_snapshot(
        self, connection: psycopg.Connection[TupleRow], statements: bytes, work: Work[T]
    ) -> T:
        now, *_ = begin(connection, statements)
        try:
            return work(Transaction(connection, now, self.ahead()))
        finally:
            if not connection.closed:
                with contextlib.suppress(psycopg.Error):
                    connection.execute(b"ROLLBACK", prepare=False)

    # Opening and closing

    def _link(self, name: str, *, writes: bool, pause: Pause | None = None) -> Link:
        link = Link(self._url, name, writes=writes, pause=pause)
        with self._links_lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            self._links.append(link)
        return link

    def _unlink(self, link: Link) -> None:
        link.close()
        with self._links_lock:
            self._links.remove(link)

    def _watch_links(self) -> None:
        while not self._ended.wait(0.5):
            with self._links_lock:
                links = list(self._links)
            for link in links:
                link.sever_if_late()

    async def close(self) -> None:
        """Finish the writes that were queued, then let go of every connection."""
        with self._links_lock:
            if self._closed:
                return
            self._closed = True
        await asyncio.to_thread(self._writer.stop)
        for link in self._links:
            link.sever()
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._snapshots.shutdown)
        self._ended.set()
        await asyncio.to_thread(self._watch.join)
        for link in self._links:
            link.close()


class _Stepwise(Transaction):
    """A transaction that tells before each statement."""

    def __init__(self, of: Transaction, step: Callable[[], None]) -> None:
        super().__init__(of.connection, of.now, 0)
        self._step = step

    def execute(self, query: bytes, values: Sequence[Any] = ()) -> list[TupleRow]:
        """See `Transaction.execute`."""
        self._step()
        return super().execute(query, values)


def _schema(transaction: Transaction) -> migrate.Schema | None:
    ((table,),) = transaction.execute(b"SELECT to_regclass('alembic_version')::text")
    if table is None:
        return None
    rows = transaction.execute(migrate.SCHEMA)
    return migrate.told(*rows[0]) if rows else None
