"""The live stream: subscribe from a position in the event log, get every event once, in order.

A position is ``<offset>-<index>``: a message of the log and an event within it, so that a client
that resumes with the last position it saw misses nothing and gets nothing twice.
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec

from observatory.core.spine import LogMessage, Spine
from observatory.runtime.loop import Loop

_POSITION: Final = re.compile(r"(\d{1,18})-(\d{1,9})\Z")
_TAIL_MAX: Final = 512
_TAIL_BYTES_MAX: Final = 16 * 1024 * 1024
"""Messages kept at hand, so that following clients do not each read the log."""
_READ_MAX: Final = 100
_LOOKED_INTO_MAX: Final = 1_000
"""Events that one answer looks into; the messages of a busy system hold fifty each."""
_MESSAGES_MAX: Final = 200
_FIRST_READ: Final = 4
_ANY_INDEX: Final = 10**9
_WAIT_S: Final = 0.5
"""Also how long stopping may have to wait; nothing is read to find that nothing came."""


class LogEvent(msgspec.Struct, frozen=True):
    """One event of the log."""

    offset: int
    index: int
    type: str
    subject: str
    body: bytes

    @property
    def at(self) -> tuple[int, int]:
        """Where it stands."""
        return self.offset, self.index

    @property
    def position(self) -> str:
        """Where it stands, as text."""
        return f"{self.offset}-{self.index}"


class _Head(msgspec.Struct):
    type: str
    subject: str = ""


_decode_bodies = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_heads = msgspec.json.Decoder(list[_Head]).decode


def parse_position(text: str) -> tuple[int, int] | None:
    """Offset and index, or None where the text is not a position."""
    match = _POSITION.match(text)
    return None if match is None else (int(match[1]), int(match[2]))


def log_events(message: LogMessage) -> list[LogEvent]:
    """The events of a log message."""
    heads = _decode_heads(message.body)
    return [
        LogEvent(message.offset, index, head.type, head.subject, bytes(body))
        for index, (head, body) in enumerate(zip(heads, _decode_bodies(message.body), strict=True))
    ]


def _size(events: list[LogEvent]) -> int:
    return sum(len(event.body) for event in events)


class Wanted(msgspec.Struct, frozen=True):
    """Which events a client wants; None is any."""

    types: tuple[str, ...] = ()
    subject: str | None = None

    def takes(self, event: LogEvent) -> bool:
        """Whether the client wants this one."""
        return (not self.types or event.type in self.types) and (
            self.subject is None or event.subject == self.subject
        )


class Subscription(msgspec.Struct, frozen=True):
    """Where a client's stream starts: messages above `after`, events above `seen`."""

    after: int
    seen: tuple[int, int]
    reset: bool = False


class _Steps:
    """How many messages to read at once: few at first, as most answers need no more, then more;
    none when enough events have been looked into."""

    def __init__(self, wanted: Wanted) -> None:
        self.looked_into = 0
        self._read = 0
        # What is wanted of many is seldom among the first few; each read has its price.
        any_will_do = not wanted.types and wanted.subject is None
        self._step = (_FIRST_READ if any_will_do else 4 * _FIRST_READ) // 2

    def next(self) -> int:
        left = _MESSAGES_MAX - self._read
        if self.looked_into >= _LOOKED_INTO_MAX or left <= 0:
            return 0
        self._step = min(2 * self._step, _READ_MAX, left)
        self._read += self._step
        return self._step


class Live:
    """Follows the log once for all clients."""

    def __init__(self, spine: Spine) -> None:
        self._spine = spine
        self._tail: deque[tuple[int, list[LogEvent]]] = deque()
        self._tail_bytes = 0
        self._offset: int | None = None
        self._grew = asyncio.Event()
        self._asked = asyncio.Event()
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._loop = Loop("live", self._follow, 0.01)
        self.clients = 0

    def start(self) -> None:
        """Begin to follow."""
        self._loop.start()

    async def stop(self) -> None:
        """Stop following; whoever watches is told to look."""
        for watchers in self._watchers.values():
            for told in watchers:
                told.set()
        await self._loop.stop()

    async def _follow(self) -> bool:
        if self.clients == 0 and not self._watchers:
            # Nobody looks: forget, rather than decode what nobody wants.
            self._tail.clear()
            self._tail_bytes = 0
            self._offset = None
            self._asked.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_S):
                    await self._asked.wait()
            return True
        if self._offset is None:
            self._offset = (await self._spine.log_range()).last
            self._wake()
        messages = await self._spine.read_log(self._offset, _READ_MAX)
        for message in messages:
            events = log_events(message)
            self._keep(message.offset, events)
            self._tell(events)
            self._offset = message.offset
        if messages:
            self._wake()
        else:
            await self._spine.wait_log(self._offset, _WAIT_S)
        return True

    def _keep(self, offset: int, events: list[LogEvent]) -> None:
        self._tail.append((offset, events))
        self._tail_bytes += _size(events)
        while len(self._tail) > _TAIL_MAX or self._tail_bytes > _TAIL_BYTES_MAX:
            self._tail_bytes -= _size(self._tail.popleft()[1])

    def _tell(self, events: list[LogEvent]) -> None:
        if self._watchers:
            for event in events:
                for told in self._watchers.get(event.subject, ()):
                    told.set()

    @contextlib.asynccontextmanager
    async def watching(self, subject: str) -> AsyncGenerator[asyncio.Event]:
        """Gives what is set at each event of a subject that comes from now on. Where the log
        cannot be read nothing is set, so look by yourself now and then."""
        told = asyncio.Event()
        self._watchers.setdefault(subject, set()).add(told)
        self._asked.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_S):
                    while self._offset is None:
                        await self._grew.wait()
            yield told
        finally:
            watchers = self._watchers[subject]
            watchers.discard(told)
            if not watchers:
                del self._watchers[subject]

    def _wake(self) -> None:
        self._grew.set()
        self._grew = asyncio.Event()

    async def read(self, after: int, limit: int = _READ_MAX) -> list[tuple[int, list[LogEvent]]]:
        """Messages with an offset above `after`, from memory where they are there."""
        if self._tail and after >= self._tail[0][0]:
            return [item for item in self._tail if item[0] > after][:limit]
        return [(m.offset, log_events(m)) for m in await self._spine.read_log(after, limit)]

    async def subscribe(self, position: tuple[int, int] | None, resumed: bool) -> Subscription:
        """Where a client starts: after the position it saw last, or now. Decided before the
        response begins, so that what happens after its headers arrived is never missed."""
        log = await self._spine.log_range()
        if resumed and (position is None or not log.first - 1 <= position[0] <= log.last):
            return Subscription(log.last, (log.last, _ANY_INDEX), reset=True)
        if position is None:
            return Subscription(log.last, (log.last, _ANY_INDEX))
        # The rest of the message that was seen in part is still to come.
        return Subscription(position[0] - 1, position)

    async def frames(self, subscription: Subscription, wanted: Wanted) -> AsyncIterator[bytes]:
        """Server-sent events from a subscription on; never ends by itself."""
        self.clients += 1
        self._asked.set()
        after, seen = subscription.after, subscription.seen
        step = _FIRST_READ
        try:
            start = b"retry: 1000\n"  # goes with the first frame; alone it would be an empty one
            if subscription.reset:
                yield (
                    start + b'event: reset\ndata: {"reason": "the position is no longer kept"}\n\n'
                )
                start = b""
            while True:
                grew = self._grew
                messages = await self.read(after, step)
                step = min(2 * step, _READ_MAX)
                if not messages:
                    # Not the spine's own wait: it may be ahead of what is at hand here.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_WAIT_S):
                            await grew.wait()
                    continue
                chunk = b"".join(
                    _frame(event)
                    for _, events in messages
                    for event in events
                    if event.at > seen and wanted.takes(event)
                )
                after = messages[-1][0]
                if chunk:
                    yield start + chunk
                    start = b""
        finally:
            self.clients -= 1

    async def oldest(
        self, wanted: Wanted, after: tuple[int, int], limit: int
    ) -> tuple[list[LogEvent], tuple[int, int] | None]:
        """Up to `limit` events above a position, the oldest first, and the position to go on
        from: None at the log's end. Bounded like `newest`."""
        found: list[LogEvent] = []
        offset = after[0] - 1
        steps = _Steps(wanted)
        while count := steps.next():
            messages = await self.read(offset, count)
            if not messages:
                return found, None
            for at, events in messages:
                offset = at
                steps.looked_into += len(events)
                found += [e for e in events if e.at > after and wanted.takes(e)]
                if len(found) > limit:
                    return found[:limit], found[limit - 1].at
                if steps.looked_into >= _LOOKED_INTO_MAX:
                    break
        return found, (offset, _ANY_INDEX - 1)

    async def newest(
        self, wanted: Wanted, before: tuple[int, int] | None, limit: int
    ) -> tuple[list[LogEvent], tuple[int, int] | None]:
        """Up to `limit` events below a position, the newest first, and the position to go on
        from: None at the log's beginning. It reads so many messages and no more, so a rare event
        may need several calls."""
        log = await self._spine.log_range()
        end = log.last + 1 if before is None else min(before[0], log.last) + 1
        found: list[LogEvent] = []
        steps = _Steps(wanted)
        while end > log.first and (count := steps.next()):
            start = max(log.first - 1, end - 1 - count)
            messages = await self._spine.read_log(start, count)
            for message in reversed([m for m in messages if m.offset < end]):
                events = log_events(message)
                steps.looked_into += len(events)
                found += [
                    event
                    for event in reversed(events)
                    if wanted.takes(event) and (before is None or event.at < before)
                ]
                if len(found) > limit:
                    return found[:limit], found[limit - 1].at
            end = start + 1
        return found, None if end <= log.first else (end, 0)


def _frame(event: LogEvent) -> bytes:
    return b"id: %s\ndata: %s\n\n" % (event.position.encode(), event.body)
