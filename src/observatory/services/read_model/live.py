"""The live stream: subscribe from a position in the event log, get every event once, in order.

A position is ``<offset>-<index>``: a message of the log and an event within it, so that a client
that resumes with the last position it saw misses nothing and gets nothing twice.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec

from observatory.core.errors import Overloaded
from observatory.core.spine import LOG_READ_BYTES_MAX, LogRange, Spine
from observatory.runtime.loop import Loop
from observatory.services.read_model.log_events import Batch, LogEvent, Position, Wanted

_TAIL_MAX: Final = 512
_TAIL_BYTES_MAX: Final = 16 * 1024 * 1024
"""Messages kept at hand, so that following clients do not each read the log."""
_READ_MAX: Final = 100
_READ_BYTES_MAX: Final = 256 * 1024
"""What a client that catches up holds in memory, but for one message that is larger."""
_LARGE: Final = 64 * 1024
"""Beyond this the event loop turns before the next is taken apart, whoever asked for it."""
_SEARCH_BYTES_MAX: Final = 3 * 1024 * 1024
_MESSAGE_COST_MIN: Final = 8 * 1024
"""What a search may read; a small message costs as much as this, for it is to be fetched too."""
_WINDOW_MIN: Final = 8
_ANY_INDEX: Final = 10**9
_BEGINNING: Final = (0, 0)
"""Before whatever the log holds: where a reader starts who has seen nothing."""
_WAIT_S: Final = 0.5
"""Also how long stopping may have to wait; nothing is read to find that nothing came."""
_AGAIN_AFTER_S: Final = 5


class Subscription(msgspec.Struct, frozen=True):
    """Where a client's stream starts: messages above `after`, events above `seen`."""

    after: int
    seen: Position
    reset: bool = False


class Live:
    """Follows the log once for all clients."""

    def __init__(self, spine: Spine, streams_max: int) -> None:
        self._spine = spine
        self._streams_max = streams_max
        self._turn = asyncio.Lock()
        self._tail: deque[Batch] = deque()
        self._tail_bytes = 0
        self._offset: int | None = None
        self._grew = asyncio.Event()
        self._asked = asyncio.Event()
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._loop = Loop("live", self._follow, 0.01)
        self.loops = (self._loop,)
        self.clients = 0
        self.dropped = 0
        """Clients that were refused, or cut off because they did not read."""

    def start(self) -> None:
        """Begin to follow."""
        self._loop.start()

    async def stop(self) -> None:
        """Stop following; whoever watches is told to look."""
        for watchers in self._watchers.values():
            for told in watchers:
                told.set()
        self._asked.set()
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
        messages = await self._spine.read_log(self._offset, _READ_MAX, _READ_BYTES_MAX)
        for message in messages:
            batch = Batch(message)
            self._keep(batch)
            self._tell(batch)
            self._offset = message.offset
        if messages:
            self._wake()
            await asyncio.sleep(0)
        else:
            await self._loop.unless_stopped(self._spine.wait_log(self._offset, _WAIT_S))
        return True

    def _keep(self, batch: Batch) -> None:
        self._tail.append(batch)
        self._tail_bytes += batch.size
        while len(self._tail) > _TAIL_MAX or self._tail_bytes > _TAIL_BYTES_MAX:
            self._tail_bytes -= self._tail.popleft().size

    def _tell(self, batch: Batch) -> None:
        if self._watchers:
            for head in batch.heads:
                for told in self._watchers.get(head.subject, ()):
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

    async def log_range(self) -> LogRange:
        """What the log holds."""
        return await self._spine.log_range()

    async def read(self, after: int) -> list[Batch]:
        """Messages with an offset above `after`, from memory where they are there."""
        if not self._tail or after < self._tail[0].offset:
            found = await self._spine.read_log(after, _READ_MAX, _READ_BYTES_MAX)
            return [Batch(message) for message in found]
        batches: list[Batch] = []
        size = 0
        for batch in self._tail:
            if batch.offset > after:
                size += batch.size
                if batches and (size > _READ_BYTES_MAX or len(batches) == _READ_MAX):
                    break
                batches.append(batch)
        return batches

    @contextlib.asynccontextmanager
    async def _taking_apart(self, size: int) -> AsyncGenerator[None]:
        # One at a time and a turn of the event loop after each: however many clients catch up,
        # nobody else waits longer than for one of their messages.
        if size < _LARGE:
            yield
            return
        async with self._turn:
            yield
            await asyncio.sleep(0)

    async def subscribe(self, position: Position | None, resumed: bool) -> Subscription:
        """Where a client starts: after the position it saw last, or now. Decided before the
        response begins, so that what happens after its headers arrived is never missed.

        Raises:
            Overloaded: as many clients as may be are there already.
        """
        if self.clients >= self._streams_max:
            self.dropped += 1
            raise Overloaded(
                f"{self.clients} streams are open, as many as may be; close one, or try again",
                retry_after_s=_AGAIN_AFTER_S,
            )
        log = await self.log_range()
        if position is not None and position == _BEGINNING:
            return Subscription(log.first - 1, position)
        if resumed and (position is None or not log.first - 1 <= position[0] <= log.last):
            return Subscription(log.last, (log.last, _ANY_INDEX), reset=True)
        if position is None:
            return Subscription(log.last, (log.last, _ANY_INDEX))
        # The rest of the message that was seen in part is still to come.
        return Subscription(position[0] - 1, position)

    def cut_off(self) -> None:
        """A client was too slow."""
        self.dropped += 1

    async def frames(self, subscription: Subscription, wanted: Wanted) -> AsyncIterator[bytes]:
        """Server-sent events from a subscription on; never ends by itself."""
        self.clients += 1
        self._asked.set()
        after, seen = subscription.after, subscription.seen
        try:
            start = b"retry: 1000\n"  # goes with the first frame; alone it would be an empty one
            if subscription.reset:
                yield (
                    start + b'event: reset\ndata: {"reason": "the position is no longer kept"}\n\n'
                )
                start = b""
            while True:
                grew = self._grew
                batches = await self.read(after)
                if not batches:
                    # Not the spine's own wait: it may be ahead of what is at hand here.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_WAIT_S):
                            await grew.wait()
                    continue
                async with self._taking_apart(sum(batch.size for batch in batches)):
                    chunk = b"".join(batch.frames(wanted, seen) for batch in batches)
                after = batches[-1].offset
                if chunk:
                    yield start + chunk
                    start = b""
        finally:
            self.clients -= 1

    async def oldest(
        self, wanted: Wanted, after: Position, limit: int
    ) -> tuple[list[LogEvent], Position | None]:
        """Up to `limit` events above a position, the oldest first, and the position to go on
        from: None at the log's end. Bounded like `newest`."""
        found: list[LogEvent] = []
        offset, left = after[0] - 1, _SEARCH_BYTES_MAX
        while left > 0:
            batches = await self.read(offset)
            if not batches:
                return found, None
            for batch in batches:
                async with self._taking_apart(batch.size):
                    found += batch.oldest(wanted, after, limit + 1 - len(found))
                if len(found) > limit:
                    return found[:limit], found[limit - 1].at
                left -= _cost(batch)
            offset = batches[-1].offset
        return found, (offset, _ANY_INDEX - 1)

    async def newest(
        self, wanted: Wanted, before: Position | None, limit: int
    ) -> tuple[list[LogEvent], Position | None]:
        """Up to `limit` events below a position, the newest first, and the position to go on
        from: None at the log's beginning. It reads so much and no more, so a rare event may need
        several calls."""
        found: list[LogEvent] = []
        reading = _Backwards(self, before)
        async for batch in reading:
            async with self._taking_apart(batch.size):
                found += batch.newest(wanted, before, limit + 1 - len(found))
            if len(found) > limit:
                return found[:limit], found[limit - 1].at
        return found, reading.rest

    async def newest_jobs(self, limit: int) -> list[str]:
        """Ids of up to `limit` jobs with the newest events, those with the newest first. Bounded
        like `newest`."""
        found: dict[str, None] = {}
        async for batch in _Backwards(self, None):
            async with self._taking_apart(batch.size):
                found |= dict.fromkeys(batch.newest_jobs())
            if len(found) >= limit:
                break
        return list(found)[:limit]

    async def between(self, after: int, end: int) -> list[Batch]:
        """Messages with an offset above `after` and below `end`."""
        batches: list[Batch] = []
        while after < end - 1:
            messages = await self._spine.read_log(after, min(_READ_MAX, end - 1 - after))
            if not messages:
                break
            batches += [Batch(message) for message in messages if message.offset < end]
            after = messages[-1].offset
        return batches


class _Backwards:
    """Messages of the log from its end, or a position, towards its beginning, up to a bound."""

    def __init__(self, live: Live, before: Position | None) -> None:
        self._live = live
        self._before = before
        self.rest: Position | None = None
        """Where to go on when all was given; None at the log's beginning."""

    async def __aiter__(self) -> AsyncGenerator[Batch]:
        log = await self._live.log_range()
        before = self._before
        end = log.last + 1 if before is None else min(before[0], log.last) + 1
        left, window = _SEARCH_BYTES_MAX, _WINDOW_MIN
        while end > log.first and left > 0:
            start = max(log.first - 1, end - 1 - window)
            batches = await self._live.between(start, end)
            for batch in reversed(batches):
                yield batch
            read = sum(map(_cost, batches))
            left -= max(read, _MESSAGE_COST_MIN)
            # The log is read forwards: how far back to go is guessed by what came just before.
            mean = read // len(batches) if batches else _MESSAGE_COST_MIN
            window = max(1, min(_READ_MAX, LOG_READ_BYTES_MAX // mean))
            end = start + 1
        self.rest = None if end <= log.first else (end, 0)


def _cost(batch: Batch) -> int:
    return max(batch.size, _MESSAGE_COST_MIN)
