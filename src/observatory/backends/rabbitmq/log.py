"""The event log: one reader follows its end for all who read near it; older stretches are read
from the broker.

Positions are offsets of the stream plus one. Marks have positions as well, and are passed over.
"""

import asyncio
import contextlib
import itertools
import math
from collections import deque
from typing import Final

import structlog

from observatory.backends.rabbitmq.link import DEADLINE_S, Link, Session
from observatory.backends.rabbitmq.messages import Incoming
from observatory.backends.rabbitmq.publisher import Publisher
from observatory.backends.rabbitmq.stream import StreamReader
from observatory.core.errors import SpineUnavailable
from observatory.core.spine import LOG_READ_BYTES_MAX, LogMessage, LogRange, within

_log = structlog.get_logger(__name__)

_TAIL_MESSAGES_MAX: Final = 4096
_TAIL_BYTES_MAX: Final = 16 * 1024 * 1024
_PREFETCH: Final = 256
_LARGE_MESSAGE: Final = 64 * 1024
"""Bytes by which the prefetch for an older stretch is reckoned."""
_OWN_S: Final = 2.0
"""So long, at most, is what this process published waited for before the log is read."""
_SILENCE_S: Final = 0.5
_PROVE_AFTER_S: Final = 15.0
"""A log that gave nothing for so long must prove that it still would. Where processors live it is
never so still: they tell of themselves more often."""
_FIRST_KEPT_S: Final = 10.0
"""The broker drops whole segments, minutes apart."""
_BACK: Final = 64
_TRIM_PAGE: Final = 500
_IDLE_S: Final = 30.0
"""After the last reader, so long the end of the log is followed: every message comes here, too."""
_TRIM_MAX: Final = 5000
"""Log messages dropped in one call at most."""


class _Tail:
    """The newest messages, and where the log ends."""

    def __init__(self, session: Session, reader: StreamReader, publisher: Publisher) -> None:
        self.session = session
        self.reader = reader
        self.epoch = ""
        self.end = 0
        """The last position that is taken, be it by a mark."""
        self.last = 0
        self.covers = 0
        """From this position on, every message is here."""
        self.messages: deque[LogMessage] = deque()
        self.grew = asyncio.Event()
        self._publisher = publisher
        self._bytes = 0

    def add(self, incoming: Incoming) -> None:
        """The next message of the log."""
        message = incoming.message
        if not self.covers:
            self.covers = message.offset
        self.end = message.offset
        if incoming.id is not None:
            self._publisher.saw(incoming.id)
        self._publisher.learn_floor(incoming.epoch, incoming.floor)
        if incoming.mark is not None:
            return
        self.last = message.offset
        self.messages.append(message)
        self._bytes += len(message.body)
        while len(self.messages) > _TAIL_MESSAGES_MAX or self._bytes > _TAIL_BYTES_MAX:
            dropped = self.messages.popleft()
            self._bytes -= len(dropped.body)
            self.covers = dropped.offset + 1

    def add_older(self, after: int, messages: list[LogMessage]) -> None:
        """What was read of the log between a position and what is here, as far as there is room:
        whoever searches backwards does so again and again."""
        older = [message for message in messages if message.offset < self.covers]
        for message in reversed(older):
            size = self._bytes + len(message.body)
            if size > _TAIL_BYTES_MAX or len(self.messages) == _TAIL_MESSAGES_MAX:
                return
            self.messages.appendleft(message)
            self._bytes = size
            self.covers = message.offset
        self.covers = min(self.covers, after + 1)

    def wake(self) -> None:
        """The log has grown."""
        self.grew.set()
        self.grew = asyncio.Event()

    def above(self, after: int, limit: int, bytes_max: int) -> list[LogMessage]:
        """From memory; `after` must be covered."""
        newer = (message for message in reversed(self.messages) if message.offset > after)
        count = sum(1 for _ in itertools.takewhile(lambda m: m.offset > after, newer))
        start = len(self.messages) - count
        return within(itertools.islice(self.messages, start, None), limit, bytes_max)


class EventLog:
    """Reads the log."""

    def __init__(self, link: Link[Session], publisher: Publisher) -> None:
        self._link = link
        self._publisher = publisher
        self._current: _Tail | None = None
        self._starting = asyncio.Lock()
        self._attempts = 0
        self._failure: SpineUnavailable | None = None
        self._following: asyncio.Task[None] | None = None
        self._first: tuple[_Tail, int, float, int] | None = None
        self._asked_at = -math.inf
        self._waiting = 0

    async def read(
        self, after: int, limit: int, bytes_max: int = LOG_READ_BYTES_MAX
    ) -> list[LogMessage]:
        """See `Spine.read_log`."""
        return await self._read(await self._caught_up(), after, limit, bytes_max)

    async def _read(
        self, tail: _Tail, after: int, limit: int, bytes_max: int = LOG_READ_BYTES_MAX
    ) -> list[LogMessage]:
        after = max(after, self._publisher.floor)
        if after >= tail.last:
            return []
        if after + 1 >= tail.covers:
            return tail.above(after, limit, bytes_max)
        return await self._read_back(tail, after, limit, bytes_max, tail.end)

    async def wait(self, after: int, timeout_s: float) -> bool:
        """See `Spine.wait_log`."""
        clock = asyncio.get_running_loop().time
        until = clock() + timeout_s
        while True:
            tail = await self._tail()
            grew = tail.grew
            if tail.last > after:
                return True
            self._waiting += 1
            try:
                async with asyncio.timeout(until - clock()):
                    await grew.wait()
            except TimeoutError:
                return tail.last > after
            finally:
                self._waiting -= 1
                self._asked_at = clock()

    async def range(self) -> LogRange:
        """See `Spine.log_range`."""
        tail = await self._caught_up()
        first = await self._find_first(tail)
        return LogRange(tail.epoch, min(first, tail.last + 1), tail.last)

    async def trim(self, keep_after: int) -> int:
        """See `Spine.trim_log`. The broker drops by its own age limit; this moves the position
        from which readers are given messages."""
        # This comes again and again where nobody reads: the end is followed for no longer.
        self._waiting += 1
        try:
            return await self._trim(await self._caught_up(for_long=False), keep_after)
        finally:
            self._waiting -= 1

    async def _trim(self, tail: _Tail, keep_after: int) -> int:
        dropped = 0
        floor: int = self._publisher.floor
        page = 1  # Most often there is nothing to drop.
        while dropped < _TRIM_MAX:
            messages = await self._read(tail, floor, page)
            old = [message for message in messages if message.at < keep_after]
            dropped += len(old)
            if old:
                floor = old[-1].offset
            if len(old) < len(messages) or not messages:
                break
            page = _TRIM_PAGE
        if dropped:
            self._publisher.learn_floor(tail.epoch, floor)
            await self._publisher.mark()
        return dropped

    async def close(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    # The tail

    async def _caught_up(self, *, for_long: bool = True) -> _Tail:
        """The tail, once it has what this process published before."""
        tail = await self._tail(for_long=for_long)
        # Only these: while a process publishes, there is always something new.
        mine = frozenset(self._publisher.unseen)
        try:
            async with asyncio.timeout(_OWN_S):
                while mine & self._publisher.unseen and tail is self._current:
                    await tail.grew.wait()
        except TimeoutError:
            _log.warning("rabbitmq.log_lags", count=len(mine & self._publisher.unseen))
        return tail

    async def _tail(self, *, for_long: bool = True) -> _Tail:
        attempts = self._attempts
        if for_long:
            self._asked_at = asyncio.get_running_loop().time()
        async with self._starting:
            if self._current is None or self._current.session.lost.is_set():
                self._current = None
                if self._attempts > attempts and self._failure is not None:
                    # Made while this call waited for its turn; each of many would take as long.
                    raise SpineUnavailable(str(self._failure))
                self._attempts += 1
                try:
                    self._current = await self._start()
                except SpineUnavailable as error:
                    self._failure = error
                    raise
                self._failure = None
                self._following = asyncio.create_task(self._follow(self._current))
            return self._current

    async def _start(self) -> _Tail:
        session = await self._link.state()
        reader = await StreamReader.open(session, "last", _PREFETCH, lasting=True)
        tail = _Tail(session, reader, self._publisher)
        # Only a message of one's own that comes back tells where the log ends.
        self._publisher.begin_to_watch()
        try:
            if not await self._reach_end(tail):
                session.lose("the log gives nothing")
                raise SpineUnavailable("the log does not give back what was written into it")
            if not tail.last:
                tail.last = await self._last_before(tail)
        except BaseException:
            self._publisher.end_watching()
            with contextlib.suppress(Exception):
                await reader.close()
            raise
        return tail

    async def _reach_end(self, tail: _Tail) -> bool:
        """Take in all that the log holds now; False where it does not give it."""
        clock = asyncio.get_running_loop().time
        mark: str | None = None
        try:
            mark, epoch = await self._publisher.mark()
        except SpineUnavailable:
            # A broker in alarm takes nothing and still gives: then its silence is the end.
            epoch = tail.epoch or self._publisher.epoch
            if not epoch:
                raise
        if tail.epoch and epoch != tail.epoch:
            return False
        patience_s = _SILENCE_S if mark is None else DEADLINE_S
        until = clock() + patience_s
        while (left_s := until - clock()) > 0 and not tail.session.lost.is_set():
            incoming = await tail.reader.next(min(left_s, 0.5))
            if incoming is None:
                continue
            tail.add(incoming)
            until = clock() + patience_s
            if mark is not None and incoming.mark == mark:
                break
        else:
            if mark is not None:
                return False
        # Not before: whoever reads meanwhile must not take old positions for those of a new log.
        tail.epoch = epoch
        return True

    async def _follow(self, tail: _Tail) -> None:
        clock = asyncio.get_running_loop().time
        lost = asyncio.ensure_future(tail.session.lost.wait())
        heard_at = clock()
        try:
            while not lost.done() and not self._idle:
                incoming = await tail.reader.next(0.5)
                if incoming is not None:
                    tail.add(incoming)
                    for more in tail.reader.at_hand():
                        tail.add(more)
                    tail.wake()
                elif clock() < heard_at + _PROVE_AFTER_S:
                    continue
                elif not await self._reach_end(tail):
                    # A consumer that the broker has forgotten looks like one of a quiet system.
                    tail.session.lose("the log gives nothing")
                else:
                    tail.wake()
                heard_at = clock()
        except Exception as error:
            # Nobody would notice: the tail would look like that of a quiet log.
            tail.session.lose(f"following the log failed: {error!r}")
        finally:
            lost.cancel()
            tail.wake()
        await self._detach(tail)

    @property
    def _idle(self) -> bool:
        clock = asyncio.get_running_loop().time
        return not self._waiting and clock() > self._asked_at + _IDLE_S

    async def _detach(self, tail: _Tail) -> None:
        async with self._starting:
            if self._current is tail:
                self._current, self._first = None, None
                self._publisher.end_watching()
        if not tail.session.lost.is_set():
            await tail.reader.close()

    async def _last_before(self, tail: _Tail) -> int:
        """The last message that is no mark, where the newest chunk holds only marks."""
        back = _BACK
        while True:
            start = max(0, tail.covers - 1 - back)
            first, last = 0, 0
            reader = await StreamReader.open(tail.session, start, _PREFETCH)
            try:
                while (incoming := await reader.next(DEADLINE_S)) is not None:
                    position = incoming.message.offset
                    first = first or position
                    self._publisher.learn_floor(incoming.epoch, incoming.floor)
                    if incoming.mark is None and position < tail.covers:
                        last = position
                    if position + 1 >= tail.covers:
                        break
            finally:
                await reader.close()
            if last:
                return last
            if start == 0 or first > start + 1:
                return max(first - 1, 0)
            back *= 4

    # Older stretches

    async def _read_back(
        self, tail: _Tail, after: int, limit: int, bytes_max: int, end: int
    ) -> list[LogMessage]:
        """From the broker, up to position `end`."""
        found: list[LogMessage] = []
        size, read_to = 0, after
        expected: int | None = after + 1
        # What is on its way counts as well, and may be as large as a commit can be.
        on_the_way = max(2, min(limit, _PREFETCH, bytes_max // _LARGE_MESSAGE))
        reader = await StreamReader.open(tail.session, after, on_the_way)
        try:
            while len(found) < limit:
                incoming = await reader.next(DEADLINE_S)
                if incoming is None:
                    raise SpineUnavailable("the log does not answer")
                if expected is not None and incoming.message.offset > expected:
                    self._first = None  # the broker has dropped more than was known
                expected = None
                if incoming.mark is None and incoming.message.offset <= end:
                    size += len(incoming.message.body)
                    if found and size > bytes_max:
                        break
                    found.append(incoming.message)
                read_to = incoming.message.offset
                if incoming.message.offset >= end:
                    break
        finally:
            await reader.close()
        if tail is self._current and read_to + 1 >= tail.covers:
            tail.add_older(after, found)
        return found

    async def _find_first(self, tail: _Tail) -> int:
        clock = asyncio.get_running_loop().time
        floor = self._publisher.floor
        if self._first is not None:
            of, at_floor, until, first = self._first
            if of is tail and at_floor == floor and clock() < until and first <= tail.last:
                return first
        first = tail.last + 1
        if floor < tail.last:
            if floor + 1 >= tail.covers and tail.covers > 0:
                found = tail.above(floor, 1, 0)
            else:
                found = await self._read_back(tail, floor, 1, 0, tail.end)
            first = found[0].offset if found else first
        self._first = (tail, floor, clock() + _FIRST_KEPT_S, first)
        return first
