"""The spine on SQLite: work queues and the event log as tables of the one file."""

import asyncio
import heapq
import itertools
import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.part import Part
from observatory.core.errors import SpineUnavailable
from observatory.core.job import Transition
from observatory.core.job_type import PRIORITIES
from observatory.core.spine import (
    LOG_READ_BYTES_MAX,
    Delivery,
    LogEntry,
    LogMessage,
    LogRange,
    WorkMessage,
    within,
)

_log = structlog.get_logger(__name__)

_decode = msgspec.json.Decoder(WorkMessage).decode
_encode = msgspec.json.Encoder().encode

_TAIL_MESSAGES_MAX: Final = 1024
_TAIL_BYTES_MAX: Final = 16 * 1024 * 1024
"""The newest log messages are kept in memory as well: whoever follows the log reads only these."""

_TRIM_MAX: Final = 5000
"""Log messages dropped in one transaction at most."""


_AHEAD: Final = (
    "SELECT id, body FROM work_messages WHERE queue = ? AND priority = ? AND id > ? "
    "AND parked IS NULL ORDER BY id"
)


class SqliteSpine:
    """The spine in a SQLite file, for one process: whoever takes a message is this process, so
    what was taken is known in memory, and a restart delivers again all that was not acknowledged.
    """

    shared = False
    publishes_at_once = True

    def __init__(self, database: Database) -> None:
        self._database = Part(database, SpineUnavailable)
        self._log_grew = asyncio.Event()
        self._consumers: set[_Consumer] = set()
        self._unreadable: set[int] = set()
        self._last = -1
        self._epoch = ""
        self._tail: deque[LogMessage] = deque()
        self._tail_bytes = 0

    async def open(self) -> None:
        """Bring back parked messages: this process may be one that can run them."""

        def work(db: sqlite3.Connection) -> tuple[int, str]:
            db.execute("UPDATE work_messages SET parked = NULL WHERE parked IS NOT NULL")
            (last,) = db.execute("SELECT coalesce(max(position), 0) FROM event_log").fetchone()
            (epoch,) = db.execute("SELECT epoch FROM event_log_epoch").fetchone()
            sequence = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event_log'")
            return max([last, *(seq for (seq,) in sequence)]), epoch

        self._last, self._epoch = await self._database.write(work)

    async def publish(self, entries: Sequence[LogEntry], work: Sequence[WorkMessage]) -> None:
        """See `Spine.publish`."""
        messages = [(m.queue, PRIORITIES.index(m.priority), _encode(m)) for m in work]

        def write(db: sqlite3.Connection) -> list[LogMessage]:
            now = self._database.now()
            added: list[LogMessage] = []
            for entry in entries:
                position = db.execute(
                    "INSERT INTO event_log (at, publisher, number, body) VALUES (?, ?, ?, ?)",
                    (now, entry.publisher, entry.number, entry.body),
                ).lastrowid
                assert position is not None
                added.append(LogMessage(position, now, entry.body, entry.publisher, entry.number))
            db.executemany(
                "INSERT INTO work_messages (queue, priority, body) VALUES (?, ?, ?)", messages
            )
            return added

        added = await self._database.write(write)
        if added:
            self._extend_tail(added)
            self._log_grew.set()
            self._log_grew = asyncio.Event()
        if messages:
            for consumer in self._consumers:
                consumer.wake()

    def _extend_tail(self, added: list[LogMessage]) -> None:
        # Several publishes may end in another order than that of their commits; what is not the
        # direct continuation is left to be read from the file.
        if not self._tail or added[0].offset == self._tail[-1].offset + 1:
            self._tail.extend(added)
            self._tail_bytes += sum(len(message.body) for message in added)
        elif added[0].offset > self._tail[-1].offset:
            self._tail = deque(added)
            self._tail_bytes = sum(len(message.body) for message in added)
        while len(self._tail) > _TAIL_MESSAGES_MAX or self._tail_bytes > _TAIL_BYTES_MAX:
            self._tail_bytes -= len(self._tail.popleft().body)
        self._last = max(self._last, added[-1].offset)

    def consume(self, queues: Sequence[str]) -> "_Consumer":
        """See `Spine.consume`."""
        consumer = _Consumer(self._database, queues, self._consumers, self._unreadable)
        self._consumers.add(consumer)
        return consumer

    async def park(self, message: WorkMessage, reason: str) -> None:
        """See `Spine.park`."""
        row = (message.queue, PRIORITIES.index(message.priority), _encode(message), reason)
        await self._database.write(
            lambda db: db.execute(
                "INSERT INTO work_messages (queue, priority, body, parked) VALUES (?, ?, ?, ?)", row
            )
        )

    async def missing(self, queued: Sequence[Transition]) -> list[Transition]:
        """See `Spine.missing`."""

        def work(db: sqlite3.Connection) -> list[Transition]:
            # What is sought is held in memory, and not all that is found: the queues may be long.
            absent = {job.job for job in queued}
            for (body,) in db.execute("SELECT body FROM work_messages"):
                if not absent:
                    break
                if (message := _decoded(body)) is not None:
                    absent.difference_update(reference.id for reference in message.jobs)
            return [job for job in queued if job.job in absent]

        return await self._database.snapshot(work)

    async def dead_letters(self) -> int:
        """See `Spine.dead_letters`."""
        # A start brings all of them back, and whoever takes them puts them aside again.
        return len(self._unreadable)

    async def read_log(
        self, after: int, limit: int, bytes_max: int = LOG_READ_BYTES_MAX
    ) -> list[LogMessage]:
        """See `Spine.read_log`."""
        if after >= self._last:
            return []
        if self._tail and self._tail[0].offset <= after + 1 and self._tail[-1].offset > after:
            start = after + 1 - self._tail[0].offset
            return within(itertools.islice(self._tail, start, None), limit, bytes_max)
        query = (
            "SELECT position, at, body, publisher, number FROM event_log WHERE position > ? "
            "ORDER BY position LIMIT ?"
        )
        return await self._database.read(
            lambda db: within(
                (LogMessage(*row) for row in db.execute(query, (after, limit))), limit, bytes_max
            )
        )

    async def wait_log(self, after: int, timeout_s: float) -> bool:
        """See `Spine.wait_log`."""
        grew = self._log_grew
        if self._last > after:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await grew.wait()
        except TimeoutError:
            pass
        return self._last > after

    async def log_range(self) -> LogRange:
        """See `Spine.log_range`."""
        first = await self._database.read(
            lambda db: db.execute("SELECT min(position) FROM event_log").fetchone()[0]
        )
        return LogRange(self._epoch, self._last + 1 if first is None else first, self._last)

    async def check(self) -> None:
        """See `Spine.check`."""
        await self._database.read(lambda db: db.execute("SELECT 1").fetchone())

    async def trim_log(self, keep_after: int) -> int:
        """See `Spine.trim_log`."""

        def work(db: sqlite3.Connection) -> int:
            return db.execute(
                "DELETE FROM event_log WHERE position IN (SELECT position FROM "
                "(SELECT position, at FROM event_log ORDER BY position LIMIT ?) WHERE at < ?)",
                (_TRIM_MAX, keep_after),
            ).rowcount

        count = await self._database.write(work)
        while self._tail and self._tail[0].at < keep_after:
            self._tail_bytes -= len(self._tail.popleft().body)
        return count

    async def close(self) -> None:
        """The database is closed by whoever opened it."""


def _decoded(body: bytes) -> WorkMessage | None:
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None


class _Consumer:
    """Reads forward with one cursor a priority; what is behind a cursor was taken."""

    def __init__(
        self,
        database: Part,
        queues: Sequence[str],
        consumers: "set[_Consumer]",
        unreadable: set[int],
    ) -> None:
        self._database = database
        self._queues = tuple(queues)
        self._cursors = [0] * len(PRIORITIES)
        self._arrived = asyncio.Event()
        self._arrived.set()
        self._consumers = consumers
        self._unreadable = unreadable
        self._refused: deque[list[tuple[int]]] = deque()
        self._closed = False

    def wake(self) -> None:
        """There may be something to take."""
        self._arrived.set()

    async def take(self, jobs: int, timeout_s: float) -> list[Delivery]:
        """See `WorkConsumer.take`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        except TimeoutError:
            return []
        if self._closed:
            return []
        self._arrived.clear()
        try:
            found, cursors, more = await self._database.read(lambda db: self._next(db, jobs))
        except BaseException:
            self._arrived.set()  # what arrived is still to be read
            raise
        self._cursors = cursors
        if more:
            self._arrived.set()
        deliveries: list[Delivery] = []
        for id, message in found:
            if message is None:
                self._park_unreadable(id)
            else:
                deliveries.append(Delivery(id, message))
        return deliveries

    def _park_unreadable(self, id: int) -> None:
        # Its jobs are queued in the store, and the reconciler finds that no message names them.
        _log.error("spine.unreadable_message", id=id)
        self._unreadable.add(id)
        self._database.submit(
            lambda db: db.execute(
                "UPDATE work_messages SET parked = 'cannot be decoded' WHERE id = ?", (id,)
            )
        )

    def _next(
        self, db: sqlite3.Connection, jobs: int
    ) -> tuple[list[tuple[int, WorkMessage | None]], list[int], bool]:
        """Messages, None for one that cannot be read; cursors behind them; whether there may be
        more. The cursors are moved by the caller, once the messages have arrived there."""
        cursors = list(self._cursors)
        found: list[tuple[int, WorkMessage | None]] = []
        for priority, cursor in enumerate(self._cursors):
            # One seek a queue, and no more is read than taken, however long the queues are.
            by_queue = (db.execute(_AHEAD, (q, priority, cursor)) for q in self._queues)
            for id, body in heapq.merge(*by_queue):
                message = _decoded(body)
                cursors[priority] = id
                found.append((id, message))
                jobs -= len(message.jobs) if message else 1
                if jobs <= 0:
                    return found, cursors, True
        return found, cursors, False

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `WorkConsumer.acknowledge`."""
        tags = [(delivery.tag,) for delivery in deliveries]
        while self._refused:
            tags += self._refused.popleft()
        done = self._database.submit(
            lambda db: db.executemany("DELETE FROM work_messages WHERE id = ?", tags)
        )
        # What a full disk refuses goes with the next acknowledgement.
        done.add_done_callback(lambda d: self._refused.append(tags) if d.exception() else None)

    async def close(self) -> None:
        """See `WorkConsumer.close`."""
        self._consumers.discard(self)
        self._closed = True
        self._arrived.set()
