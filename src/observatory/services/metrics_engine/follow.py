"""Following the log: every numbered batch is added to the aggregates exactly once.

A number not above its publisher's last is a repeat and is skipped. A number too high is a gap. What
is missing is taken from the outbox where it still waits there to be published; else it was lost on
the way, and the aggregates are rebuilt from the store.
"""

import contextlib
import time
from typing import Final

import msgspec
import structlog

from observatory.core.aggregates import Aggregates, Deltas, Position, fold_batch
from observatory.core.errors import ObservatoryError, PositionMismatch
from observatory.core.event import encode_commit
from observatory.core.instant import MICROSECONDS
from observatory.core.spine import LogMessage, LogRange, Spine
from observatory.core.store import StoreReads
from observatory.runtime.failpoints import reach
from observatory.runtime.loop import Loop
from observatory.services.metrics_engine.audit import INTERVAL_S, Audit
from observatory.services.metrics_engine.heartbeats import Heartbeats
from observatory.services.metrics_engine.rebuild import rebuild

_log = structlog.get_logger(__name__)

_MESSAGES_MAX: Final = 200
_BYTES_MAX: Final = 1024 * 1024
"""What is added in one step, which the event loop waits for."""
_WAIT_S: Final = 0.5
"""Nothing is read to find that nothing came."""
_PACE_S: Final = 0.05
"""While events come, they are added this often: sums cost by the step, and nobody looks sooner."""
_TRIM_INTERVAL_S: Final = 60.0
_SOURCE: Final = "/observatory/metrics-engine"
"""Of events that are counted from the outbox and go nowhere."""


class Follower:
    """Applies the log to the aggregates."""

    def __init__(self, spine: Spine, store: StoreReads, aggregates: Aggregates) -> None:
        self._spine = spine
        self._store = store
        self._aggregates = aggregates
        self._position: Position | None = None
        self._loop = Loop("follow", self.tick, _PACE_S)
        self._trim_loop = Loop("trim", self._trim, _TRIM_INTERVAL_S)
        self._audit = Audit(store)
        self._audit_loop = Loop("audit", self.audit, INTERVAL_S)
        self.loops = (self._loop, self._trim_loop, self._audit_loop)
        self._caught_up_at = 0.0
        self.last_event_at: int | None = None
        """When the spine took the newest message that has been applied."""
        self.heartbeats = Heartbeats()
        self._recalled = False
        self.rebuilds = 0
        self.repeats = 0

    def start(self) -> None:
        """Begin to follow."""
        self._loop.start()
        self._trim_loop.start()
        self._audit_loop.start()

    async def stop(self) -> None:
        """Stop after the batch under way, and the one that came of what ended with this process."""
        await self._trim_loop.stop()
        await self._audit_loop.stop()
        await self._loop.stop()
        if (position := self._position) is not None:
            # Whatever fails now is made good after the next start.
            with contextlib.suppress(ObservatoryError):
                if messages := await self._read(position):
                    await self._take(position, messages)

    async def tick(self) -> bool:
        """Apply what the log holds beyond the position, or wait a little for more; True where
        there is more."""
        if self._position is None:
            self._position = await self._resume()
            if not self._recalled:
                await self.heartbeats.recall(self._store)
                self._recalled = True
        position = self._position
        began = time.monotonic()
        if messages := await self._read(position):
            more = await self._take(position, messages)
            if not more:
                self._caught_up_at = began
            return more
        self._caught_up_at = began
        if not await self._still_at(position):
            self._position = None
            return True
        wait = self._spine.wait_log(position.offset, _WAIT_S)
        return bool(await self._loop.unless_stopped(wait))

    async def _read(self, position: Position) -> list[LogMessage]:
        return await self._spine.read_log(position.offset, _MESSAGES_MAX, _BYTES_MAX)

    async def _take(self, position: Position, messages: list[LogMessage]) -> bool:
        """Apply messages; True where there are more, or the position was lost."""
        try:
            self._position = (
                await self._apply(position, messages)
                if await self._reaches_back(position, messages[0])
                else None
            )
        except PositionMismatch as error:
            _log.warning("follow.position_lost", error=str(error))
            self._position = None
        # Where the bytes set the limit, at least half of them are there, but for one large message.
        full = sum(len(message.body) for message in messages) > _BYTES_MAX // 2
        return self._position is None or full or len(messages) == _MESSAGES_MAX

    async def audit(self) -> None:
        """Have the aggregates rebuilt where they cannot be right, though no gap says so."""
        if self._position is None:
            return
        if (why := await self._audit.finds(self._position, self._caught_up_at)) is not None:
            _log.error("follow.audit_failed", why=why)
            await self._aggregates.invalidate()
            # The tick under way, if any, does not get past this either.
            self._position = None
            self._audit = Audit(self._store)

    async def _resume(self) -> Position:
        position = await self._aggregates.position()
        if (why := _unusable(position, await self._spine.log_range())) is None and position:
            return position
        self.rebuilds += 1
        return await rebuild(self._spine, self._store, self._aggregates, why or "unknown")

    async def _still_at(self, position: Position) -> bool:
        # A log made anew and aggregates that were emptied are as silent as a quiet system.
        kept = await self._aggregates.position()
        if kept is None or kept.offset != position.offset:
            return False
        return _unusable(kept, await self._spine.log_range()) is None

    async def _reaches_back(self, position: Position, first: LogMessage) -> bool:
        # What was trimmed unread leaves no gap in the numbers of a publisher that has ended.
        # Offsets alone do not tell: a log may use some for itself.
        if first.offset == position.offset + 1:
            return True
        if (why := _unusable(position, await self._spine.log_range())) is None:
            return True
        _log.warning("follow.lost_track", why=why, after=position.offset, found=first.offset)
        await self._aggregates.invalidate()
        return False

    async def _apply(self, position: Position, messages: list[LogMessage]) -> Position | None:
        deltas = Deltas()
        numbers: dict[str, int] = {}
        for message in messages:
            publisher, number = message.publisher, message.number
            if publisher is None or number is None:
                continue
            last = numbers.get(publisher, position.numbers.get(publisher, 0))
            if number <= last:
                self.repeats += 1
                continue
            if number > last + 1 and not await self._fill_gap(publisher, last, number, deltas):
                _log.warning("follow.gap", publisher=publisher, after=last, found=number)
                await self._aggregates.invalidate()
                return None
            if not _fold(message, deltas):
                await self._aggregates.invalidate()
                return None
            numbers[publisher] = number
        offset = messages[-1].offset
        moved = Position(position.epoch, offset, numbers)
        reach("engine.before_apply")
        await self._aggregates.apply(position.offset, moved, deltas)
        reach("engine.after_apply")
        self.last_event_at = messages[-1].at
        self.heartbeats.applied(deltas.heartbeats)
        return Position(position.epoch, offset, position.numbers | numbers)

    async def _fill_gap(self, publisher: str, after: int, before: int, into: Deltas) -> bool:
        # When the relay brings it, it is a repeat.
        commits = await self._store.outbox(publisher, after, before)
        if [commit.number for commit in commits] != list(range(after + 1, before)):
            return False
        for commit in commits:
            fold_batch(encode_commit(commit, _SOURCE), into)
        return True

    async def _trim(self) -> None:
        await self._aggregates.trim(await self._store.now() // MICROSECONDS)


def _fold(message: LogMessage, into: Deltas) -> bool:
    """False where the message cannot be read: it is lost, and what it told must be found
    elsewhere."""
    try:
        fold_batch(message.body, into)
    except (msgspec.MsgspecError, ValueError) as error:
        _log.error("follow.unreadable", offset=message.offset, error=str(error))
        return False
    return True


def _unusable(position: Position | None, log: LogRange) -> str | None:
    if position is None:
        return "the aggregates are empty"
    if position.epoch != log.epoch:
        return "the log was made anew"
    if position.offset > log.last:
        return "the log is shorter than remembered"
    if position.offset < log.first - 1:
        return "the log no longer reaches back to the position"
    return None
