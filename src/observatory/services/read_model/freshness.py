"""How old a view is: the aggregates' position against the log's end."""

import asyncio
import time
from typing import Final

import msgspec

from observatory.core.aggregates import Aggregates
from observatory.core.errors import AggregatesUnavailable, ObservatoryError, SpineUnavailable
from observatory.core.instant import MICROSECONDS, to_rfc3339
from observatory.core.spine import Spine
from observatory.core.store import StoreReads

_KEPT_US: Final = MICROSECONDS // 4
"""How long an answer is used again."""

_AWAY_US: Final = 2 * MICROSECONDS
"""How long after no answer came the next is asked for; each may have to be waited for."""


_PATIENCE_S: Final = 2.0
"""How long a view waits to learn its age."""


class Freshness(msgspec.Struct, frozen=True):
    """The age of the aggregates."""

    as_of: int
    log_offset: int
    lag_s: float
    complete: bool
    rebuilding: bool

    def headers(self) -> dict[str, str]:
        """As response headers."""
        return {
            "Observatory-As-Of": to_rfc3339(self.as_of),
            "Observatory-Log-Offset": str(self.log_offset),
            "Observatory-Lag-Seconds": f"{self.lag_s:.3f}",
            "Cache-Control": "no-store",
        }


class Clock:
    """Tells how fresh the aggregates are."""

    def __init__(self, store: StoreReads, spine: Spine, aggregates: Aggregates) -> None:
        self._store = store
        self._spine = spine
        self._aggregates = aggregates
        self._known: Freshness | None = None
        self._kept_until = 0
        self._looked_at: int | None = None
        self._looking: asyncio.Task[Freshness] | None = None

    async def now(self) -> int:
        """The store's clock; this machine's where the store does not answer in time, for those who
        are to be told something also then."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._store.now()
        except (TimeoutError, ObservatoryError):
            return time.time_ns() // 1000

    async def freshness(self, now: int | None = None) -> Freshness:
        """The freshness now, at most a quarter of a second old itself; `now` is the store's clock
        where the caller has just read it.

        Where log or aggregates do not answer, the views that need neither go on, and their age
        grows.
        """
        if now is None:
            now = await self._store.now()
        if self._known is not None and self._known.as_of <= now < self._kept_until:
            return self._known
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(now))
            # Whoever asked may have gone on before it failed.
            self._looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Whoever asks is not to wait for as long as a broker may take to answer.
        looking = self._looking
        await asyncio.wait([looking], timeout=_PATIENCE_S)
        if not looking.done():
            return self._unknown(now)
        try:
            self._known = looking.result()
            self._looked_at = self._known.as_of
            self._kept_until = self._known.as_of + _KEPT_US
        except (AggregatesUnavailable, SpineUnavailable):
            self._known, self._kept_until = self._unknown(now), now + _AWAY_US
        return self._known

    def _unknown(self, now: int) -> Freshness:
        self._looked_at = since = now if self._looked_at is None else self._looked_at
        offset = 0 if self._known is None else self._known.log_offset
        age_s = max(0, now - since) / MICROSECONDS
        return Freshness(now, offset, age_s, complete=False, rebuilding=False)

    async def _look(self, now: int) -> Freshness:
        log = await self._spine.log_range()
        position = await self._aggregates.position()
        usable = position is not None and position.epoch == log.epoch
        offset = position.offset if position is not None else 0
        waiting = await self._spine.read_log(offset, 1) if offset < log.last else []
        lag_us = max(0, now - waiting[0].at) if waiting else 0
        return Freshness(now, offset, lag_us / MICROSECONDS, usable, not usable)
