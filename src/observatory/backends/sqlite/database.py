"""One SQLite file with one writer: hand it a write, get its result once it is on disk.

Rules of this file:

1. One thread owns the only connection that writes, commits and checkpoints. SQLite before 3.51.3
   can lose a commit when two connections do (https://sqlite.org/wal.html#walresetbug), and one
   writer never meets SQLITE_BUSY.
2. Writes that wait together share one commit (group commit), each in its own savepoint, so that
   one that fails takes no other with it. `synchronous=FULL`: a commit is on disk when it returns.
3. A second process is kept out by a lock on a file beside the database, which the operating
   system gives up when its holder dies.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import filelock

from observatory.backends.sqlite.migrate import migrate
from observatory.core.errors import (
    ConfigurationError,
    ObservatoryError,
    QueryTooBroad,
    RowRefused,
    StoreUnavailable,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

FILE_NAME: Final = "observatory.db"

_GROUP_MAX: Final = 256
"""Writes that share a commit at most; bounds how long the first of them waits."""

_CHECKPOINT_WAL_BYTES: Final = 4 * 1024 * 1024
"""Size of the write-ahead log beyond which the writer moves it into the database."""

_CHECKPOINT_PAUSE_S: Final = 5.0
"""How long after a reader held up a checkpoint the next is tried."""

_BUSY_TIMEOUT_MS: Final = 1000

_TRUNCATE_WAIT_MS: Final = 20
"""How long emptying the write-ahead log waits for readers, and writes with it."""

_READERS: Final = 4

_SEARCHERS: Final = 2
"""Threads of reads that may take long: they must not keep the short ones waiting."""

_SEARCHES_WAITING_MAX: Final = 16
"""Searches that may wait for a thread; at two seconds each the last waits for sixteen."""

_READ_DEADLINE_S: Final = 2.0
"""How long one question may read; beyond it the asker is told to narrow it."""

_PROGRESS_STEPS: Final = 20_000
"""Virtual machine steps between two looks at the clock during a read (about a millisecond)."""

_STOP: Final = object()


class Database:
    """An open database file."""

    def __init__(self, directory: Path, clock: Callable[[], int]) -> None:
        """Open, and where needed create or migrate, the database in a directory.

        Args:
            directory: made where it does not exist.
            clock: the present in microseconds since the epoch.

        Raises:
            ConfigurationError: another process has it open, or the directory cannot be used.
        """
        self.now = clock
        self.path = directory.absolute() / FILE_NAME
        self._lock = _lock(self.path.parent)
        try:
            migrate(self.path)
            self._writer = _connect(self.path)
        except BaseException:
            self._lock.release()
            raise
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._closed = False
        self._checkpoint_not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._searchers = ThreadPoolExecutor(_SEARCHERS, thread_name_prefix="sqlite-searcher")
        self._searches = 0
        # Searches may take all their threads for long; counting anew must not wait for them.
        self._snapshots = ThreadPoolExecutor(1, thread_name_prefix="sqlite-snapshot")

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue a write from any thread; the future is done once its commit is on disk.

        Raises (from the future):
            RowRefused: the data of this write cannot be recorded.
            StoreUnavailable: SQLite refused; nothing of this write was recorded.
        """
        future: Future[T] = Future()
        if self._closed:
            future.set_exception(StoreUnavailable("the store is closed"))
        else:
            self._queue.put((work, future))
        return future

    async def write(self, work: Work[T]) -> T:
        """Like `submit`, awaited. Cancelling the caller never touches the connection."""
        return await asyncio.wrap_future(self.submit(work))

    async def read(self, work: Work[T]) -> T:
        """Run a read in one snapshot, apart from the writer.

        Raises:
            QueryTooBroad: it would take longer than two seconds.
            StoreUnavailable: SQLite refused.
        """
        return await self._read_in(self._readers, work)

    async def search(self, work: Work[T]) -> T:
        """Like `read`, for what may read much: of these only a few run at once.

        Raises:
            QueryTooBroad: also where too many wait already.
            StoreUnavailable: SQLite refused.
        """
        if self._searches >= _SEARCHERS + _SEARCHES_WAITING_MAX:
            raise QueryTooBroad(
                "too many searches wait already; narrow yours by state, type, queue or time, "
                "or come again later",
                retry_after_s=2,
            )
        self._searches += 1
        try:
            return await self._read_in(self._searchers, work)
        finally:
            self._searches -= 1

    async def _read_in(self, threads: ThreadPoolExecutor, work: Work[T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(threads, self._read, work)

    def _read(self, work: Work[T]) -> T:
        connection = self._reader()
        deadline = time.monotonic() + _READ_DEADLINE_S
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
        try:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.rollback()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise QueryTooBroad(
                    "the query reads too much; narrow it by state, type, queue or time",
                    retry_after_s=1,
                ) from error
            raise _unavailable(error) from error
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def snapshot(self, work: Work[T]) -> Future[T]:
        """Run a long read in one snapshot without a deadline, in a thread of its own.

        Raises (from the future):
            StoreUnavailable: SQLite refused.
        """

        if self._closed:
            refused: Future[T] = Future()
            refused.set_exception(StoreUnavailable("the store is closed"))
            return refused

        def run() -> T:
            connection = self._reader()
            connection.set_progress_handler(None, 0)
            try:
                connection.execute("BEGIN")
                try:
                    return work(connection)
                finally:
                    connection.rollback()
            except sqlite3.Error as error:
                raise _unavailable(error) from error

        return self._snapshots.submit(run)

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            uri = f"{self.path.as_uri()}?mode=ro"
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA mmap_size=268435456")
            self._local.connection = connection
        return connection

    async def close(self) -> None:
        """Finish the writes that were queued, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(_STOP)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._searchers.shutdown)
        await asyncio.to_thread(self._snapshots.shutdown)
        self._lock.release()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < _GROUP_MAX:
                    group.append(self._queue.get_nowait())
            stopping = _STOP in group
            self._commit([item for item in group if item is not _STOP])
            if stopping or self._queue.empty():
                self._checkpoint(_CHECKPOINT_WAL_BYTES)
            else:
                self._checkpoint(16 * _CHECKPOINT_WAL_BYTES)
        self._checkpoint(0)
        self._writer.close()

    def _commit(self, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        live = [item for item in group if item[1].set_running_or_notify_cancel()]
        if not live:
            return
        results: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for work, future in live:
                results.append((future, *_in_savepoint(self._writer, work)))
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            for _, future in live:
                future.set_exception(_unavailable(error))
            return
        for future, result, failure in results:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    def _checkpoint(self, beyond_bytes: int) -> None:
        if beyond_bytes and time.monotonic() < self._checkpoint_not_before:
            return
        wal = self.path.with_name(FILE_NAME + "-wal")
        with contextlib.suppress(OSError, sqlite3.Error):
            if wal.stat().st_size > beyond_bytes and not self._emptied_wal():
                self._checkpoint_not_before = time.monotonic() + _CHECKPOINT_PAUSE_S

    def _emptied_wal(self) -> bool:
        # PASSIVE waits for nobody, and alone would let the log grow for ever. TRUNCATE waits for
        # every reader, and all writes with it: worth it only where PASSIVE could move everything,
        # and not for longer than a short read takes.
        _, frames, moved = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if moved < frames:
            return False
        self._writer.execute(f"PRAGMA busy_timeout={_TRUNCATE_WAIT_MS}")
        try:
            (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._writer.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        return not busy


def _in_savepoint(
    connection: sqlite3.Connection, work: Work[Any]
) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT one")
    try:
        result = work(connection)
    except BaseException as error:
        if not connection.in_transaction:
            # SQLite gave up the whole transaction (disk full, input/output error).
            raise sqlite3.OperationalError(str(error)) from error
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        if isinstance(error, sqlite3.Error):
            return None, _translated(error)
        return None, error
    connection.execute("RELEASE one")
    return result, None


def _translated(error: sqlite3.Error) -> ObservatoryError:
    """What a write is told: whether its data are at fault, or the database."""
    if isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError)):
        return RowRefused(f"the database refuses this: {error}")
    return _unavailable(error)


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    return StoreUnavailable(f"the database refused: {error}", retry_after_s=1)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=0",
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "cache_size=-65536",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _lock(directory: Path) -> filelock.FileLock:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / "observatory.lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigurationError(
            f"another process has {directory} open; stop it, or choose another folder with --data"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"the data folder {directory} cannot be used: {error}") from error
    return lock
