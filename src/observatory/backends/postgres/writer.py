"""The one connection of a process that writes: a queue, a thread, and commits that are shared.

Rules of this file:

1. Writes that wait together share one transaction (group commit). Where one of them fails, the
   transaction is rolled back and they are repeated one by one, so that none takes another with it.
2. A write raises a `Problem` only before it has changed anything; the others of its group stand.
3. A commit whose answer is lost is looked up by its transaction's id on another connection, and
   by the publisher's number: after a failover the id may mean another transaction.
4. What may be lost in a crash, as it would be done again, waits a moment for what may not, and
   alone does not wait for the disk.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow

from observatory.backends.postgres.connection import Link, is_lost, raise_translated
from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction, Work, begin
from observatory.core.errors import Problem, StoreUnavailable

T = TypeVar("T")

_BEGIN: Final = statement("begin_write")

_NO_FLUSH: Final = b"SET LOCAL synchronous_commit TO off"

_GROUP_MAX: Final = 64
"""Writes that share a commit, but for one that is waited for; bounds how long rows stay locked."""

_COMPANY_S: Final = 0.02
"""How long writes that may be lost wait for one that may not, whose commit they share."""

_WRITE_WITHIN_S: Final = 30.0
"""After this a server that keeps the connection and says nothing is given up."""

_RESOLVE_WITHIN_S: Final = 5.0
"""How long the outcome of a commit whose answer was lost is looked for."""

_TRIES: Final = 3
"""How often a write is tried that met a deadlock or a row locked for too long."""

_STOP: Final = object()


class _Item(NamedTuple):
    work: Work[Any]
    future: "Future[Any]"
    durable: bool


class Writer:
    """A thread that writes."""

    def __init__(self, link: Link, ahead: Callable[[], int]) -> None:
        """Start.

        Args:
            link: used by nobody else.
            ahead: microseconds to add to the server's clock.
        """
        self._link = link
        self._ahead = ahead
        self._stopping = False
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="postgres-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T], *, durable: bool = True) -> "Future[T]":
        """Queue a write from any thread; the future is done once it is committed.

        Args:
            work: what writes.
            durable: False where a crash of the server may undo it.

        Raises (from the future):
            StoreUnavailable: nothing was recorded, or, as the text then says, nobody knows.
            RowRefused: the data of this write cannot be recorded.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._stopping:
                future.set_exception(StoreUnavailable("the store is closed"))
            else:
                self._queue.put(_Item(work, future, durable))
        return future

    def stop(self) -> None:
        """Finish what is queued, and end the thread. Blocks."""
        with self._lock:
            self._stopping = True
            self._queue.put(_STOP)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            taken = [self._queue.get()]
            self._take_along(taken)
            if not any(item is _STOP or item.durable for item in taken):
                with contextlib.suppress(queue.Empty):
                    taken.append(self._queue.get(timeout=_COMPANY_S))
                    self._take_along(taken)
            stopping = _STOP in taken
            group: list[_Item] = [
                item for item in taken
                if item is not _STOP and item.future.set_running_or_notify_cancel()
            ]  # fmt: skip
            if group:
                self._commit(group)

    def _take_along(self, taken: list[Any]) -> None:
        """Add what waits already."""
        with contextlib.suppress(queue.Empty):
            while len(taken) < _GROUP_MAX:
                taken.append(self._queue.get_nowait())

    def _commit(self, group: list[_Item]) -> None:
        try:
            results = self._transact(group)
        except StoreUnavailable as error:
            _refuse(group, error)
        except BaseException as error:
            if len(group) == 1:
                _refuse(group, error)
                return
            for item in group:
                self._commit([item])
        else:
            for item, (result, problem) in zip(group, results, strict=True):
                if problem is None:
                    item.future.set_result(result)
                else:
                    item.future.set_exception(problem)

    def _transact(self, group: list[_Item]) -> list[tuple[Any, Problem | None]]:
        """Run a group in one transaction.

        Raises:
            psycopg.Error: something in the group was refused; the connection is well.
            StoreUnavailable: the connection was lost.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._try(group, fresh=not self._link.connected)
            except (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable):
                if not left or len(group) > 1:
                    raise
        raise AssertionError("unreachable")

    def _try(self, group: list[_Item], *, fresh: bool) -> list[tuple[Any, Problem | None]]:
        connection = self._link.connection()
        self._link.expect_within(_WRITE_WITHIN_S)
        try:
            try:
                xid, transaction = self._begin_write(connection)
            except psycopg.Error as error:
                # Nothing has been done yet; most often the connection had died in its sleep.
                self._link.drop()
                if fresh:
                    raise_translated(error)
                return self._try(group, fresh=True)
            results = [_outcome(item.work, transaction) for item in group]
            if not any(item.durable for item in group):
                connection.execute(_NO_FLUSH, prepare=False)
            try:
                connection.execute(b"COMMIT", prepare=False)
            except psycopg.Error as error:
                if not is_lost(error, connection):
                    raise
                self._link.drop()
                self._resolve(xid, transaction.numbered, error)
        except psycopg.Error as error:
            if is_lost(error, connection):
                self._link.drop()
                raise_translated(error)
            self._roll_back(connection)
            raise
        except BaseException:
            if not connection.closed:
                self._roll_back(connection)
            raise
        finally:
            self._link.expect_within(None)
        return results

    def _begin_write(self, connection: psycopg.Connection[TupleRow]) -> tuple[str, Transaction]:
        xid, now, *_ = begin(connection, _BEGIN)
        return xid, Transaction(connection, now, self._ahead())

    def _roll_back(self, connection: psycopg.Connection[TupleRow]) -> None:
        try:
            connection.execute(b"ROLLBACK", prepare=False)
        except psycopg.Error:
            self._link.drop()

    def _resolve(self, xid: str, numbered: tuple[str, int] | None, error: psycopg.Error) -> None:
        """Return if the transaction was committed.

        Raises:
            StoreUnavailable: it was not, or that cannot be found out.
        """
        until = time.monotonic() + _RESOLVE_WITHIN_S
        while time.monotonic() < until:
            self._link.expect_within(_RESOLVE_WITHIN_S)
            status: str | None = None
            with contextlib.suppress(StoreUnavailable, psycopg.Error):
                status = _status(self._link.connection(), xid, numbered)
            if status == "committed":
                return
            if status == "aborted":
                raise_translated(error)
            time.sleep(0.1)
        raise StoreUnavailable(
            "the connection was lost during the commit, and it is not known whether this was "
            "recorded",
            retry_after_s=1,
        ) from error


def _outcome(work: Work[Any], transaction: Transaction) -> tuple[Any, Problem | None]:
    try:
        return work(transaction), None
    except Problem as problem:
        return None, problem


def _refuse(group: list[_Item], error: BaseException) -> None:
    if isinstance(error, psycopg.Error):
        try:
            raise_translated(error)
        except Exception as translated:
            error = translated
    for item in group:
        item.future.set_exception(error)


def _status(
    connection: psycopg.Connection[TupleRow], xid: str, numbered: tuple[str, int] | None
) -> str | None:
    """committed, aborted, in progress, or None where the server has forgotten."""
    publisher, number = numbered or (None, 0)
    try:
        row = connection.execute(
            b"SELECT pg_xact_status($1::xid8), $2::text IS NULL OR EXISTS "
            b"(SELECT FROM publishers WHERE id = $2 AND last_number >= $3)",
            (xid, publisher, number),
        ).fetchone()
    except errors.InvalidParameterValue:
        return "aborted"  # an id of the future: this server never had the transaction
    status, known = row or (None, False)
    return "aborted" if status == "committed" and not known else status
