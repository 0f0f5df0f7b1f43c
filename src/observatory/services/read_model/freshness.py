"""How old a view is: the aggregates' position against the log's end."""

from typing import Final

import msgspec

from observatory.core.aggregates import Aggregates
from observatory.core.instant import MICROSECONDS, to_rfc3339
from observatory.core.spine import Spine
from observatory.core.store import StoreReads

_KEPT_US: Final = MICROSECONDS // 4
"""How long an answer is used again."""


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

    async def freshness(self) -> Freshness:
        """The freshness now, at most a quarter of a second old itself."""
        now = await self._store.now()
        if self._known is not None and 0 <= now - self._known.as_of < _KEPT_US:
            return self._known
        log = await self._spine.log_range()
        position = await self._aggregates.position()
        usable = position is not None and position.epoch == log.epoch
        offset = position.offset if position is not None else 0
        waiting = await self._spine.read_log(offset, 1) if offset < log.last else []
        lag_us = max(0, now - waiting[0].at) if waiting else 0
        self._known = Freshness(now, offset, lag_us / MICROSECONDS, usable, not usable)
        return self._known
