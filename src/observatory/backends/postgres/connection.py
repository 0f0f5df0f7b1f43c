"""One connection to PostgreSQL: opened when needed, dropped when anything is wrong with it."""

import contextlib
import math
import os
import socket
import threading
import time
from typing import Any, Final, NoReturn

import psycopg
from psycopg import RawCursor, errors
from psycopg.rows import TupleRow

from observatory.core.errors import RowRefused, StoreUnavailable

_CONNECT_TIMEOUT_S: Final = 3
_UNACKNOWLEDGED_MS: Final = 10_000
"""How long sent bytes may stay unacknowledged before the connection is given up."""

_PREPARED_AFTER: Final = 2
"""A statement run so often is prepared, where the connection is to the server itself."""

_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0

_GONE: Final = (
    errors.ReadOnlySqlTransaction,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.DatabaseDropped,
    errors.IdleInTransactionSessionTimeout,
)
"""What a server says that shuts down, or serves no writes (any more): the host is to be resolved
anew."""


class Pause:
    """How long no attempt to connect is made after one that failed; twice as long each time.

    Shared by links to the same server for the same use: the first of them that is connected again
    ends the pause of all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._not_before = 0.0
        self._connected_at = -math.inf

    @property
    def lasts(self) -> bool:
        """Whether an attempt is not yet to be made."""
        return time.monotonic() < self._not_before

    def connected(self) -> None:
        """An attempt succeeded."""
        with self._lock:
            self._seconds = self._not_before = 0.0
            self._connected_at = time.monotonic()

    def failed(self, began: float) -> None:
        """An attempt failed that began at this monotonic time. One that began before the last
        change is told of by it already."""
        with self._lock:
            if began >= max(self._connected_at, self._not_before):
                self._seconds = min(max(2 * self._seconds, _PAUSE_MIN_S), _PAUSE_MAX_S)
                self._not_before = time.monotonic() + self._seconds


class Link:
    """A connection for one thread at a time.

    Fails at once while a pause after a failed attempt to connect lasts, so that callers learn
    quickly that the store is away.
    """

    def __init__(self, url: str, name: str, *, writes: bool, pause: Pause | None = None) -> None:
        self._url = url
        self._name = name
        self._writes = writes
        self._pause = pause or Pause()
        self._connection: psycopg.Connection[TupleRow] | None = None
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._closed = False

    def connection(self) -> psycopg.Connection[TupleRow]:
        """The connection, opened where there is none.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        with self._lock:
            if self._connection is not None and not self._connection.closed:
                return self._connection
            self._connection = None
            if self._closed:
                raise StoreUnavailable("the store is closed")
        if self._pause.lasts:
            raise StoreUnavailable("the database does not answer", retry_after_s=1)
        began = time.monotonic()
        try:
            connection = self._connect()
        except psycopg.Error as error:
            self._pause.failed(began)
            raise StoreUnavailable(
                f"the database does not answer: {_text(error)}", retry_after_s=1
            ) from error
        self._pause.connected()
        with self._lock:
            if self._closed:
                connection.close()
                raise StoreUnavailable("the store is closed")
            self._connection = connection
        return connection

    def _connect(self) -> psycopg.Connection[TupleRow]:
        # Without session settings, a pooler may give every transaction another server connection.
        options: dict[str, Any] = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": f"observatory {self._name}",
            "target_session_attrs": "read-write" if self._writes else "any",
            "tcp_user_timeout": _UNACKNOWLEDGED_MS,
            # Whoever waits for an answer sends nothing, and is told of a dead line by these only.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=RawCursor,
            **options,
        )
        if self._writes and _is_direct(connection):
            # Planning a statement anew costs PostgreSQL as much as running it for a few jobs. What
            # reads is planned for what it is asked: one plan does not suit every filter.
            connection.prepare_threshold = _PREPARED_AFTER
        return connection

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.closed

    def drop(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        """Close for good."""
        self._closed = True
        self.drop()

    # A server that is frozen keeps its connections; only a deadline ends the waiting.

    def expect_within(self, seconds: float | None) -> None:
        """From now on an answer must come within so many seconds; None: it need not."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def sever_if_late(self) -> None:
        """For a watching thread: end the waiting of the thread that uses the connection."""
        deadline = self._deadline
        if deadline is not None and time.monotonic() > deadline:
            self.sever()

    def sever(self) -> None:
        """End whatever another thread waits for on this connection."""
        with self._lock:
            connection = self._connection
            if connection is None or connection.closed:
                return
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(connection.fileno())) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)


def is_lost(error: psycopg.Error, connection: psycopg.Connection[TupleRow]) -> bool:
    """Whether the connection is of no use after this error."""
    return connection.closed or isinstance(error, _GONE)


def raise_translated(error: psycopg.Error) -> NoReturn:
    """Raise what services understand.

    Raises:
        RowRefused: the data is at fault (SQLSTATE 22 and 23).
        StoreUnavailable: anything else.
    """
    text = _text(error)
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
        raise RowRefused(f"the database refuses this: {text}") from error
    raise StoreUnavailable(f"the database refused: {text}", retry_after_s=1) from error


def _text(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip() or type(error).__name__


def _is_direct(connection: psycopg.Connection[TupleRow]) -> bool:
    """No pooler stands between, as it would tell a process id of its own making."""
    row = connection.execute(b"SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] == connection.info.backend_pid
