"""The system's own health: what it stands on, how far the views are behind, what waits."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from observatory import __version__
from observatory.core.aggregates import Aggregates
from observatory.core.canary import HEARTBEAT_JOB
from observatory.core.errors import ObservatoryError
from observatory.core.instant import optional_rfc3339, to_rfc3339
from observatory.core.job import Job
from observatory.core.lifecycle import State
from observatory.core.spine import Spine
from observatory.core.store import JobFilter, StoreReads
from observatory.services.read_model.freshness import Clock, Freshness

T = TypeVar("T")

_PATIENCE_S: Final = 2.0
"""How long each question may take; they are put side by side."""
_DETAIL_CHARS_MAX: Final = 500


class SystemHealth:
    """Looks at everything at once; what does not answer is told as such and holds up nothing."""

    def __init__(
        self,
        store: StoreReads,
        spine: Spine,
        aggregates: Aggregates,
        clock: Clock,
        canary_s: float,
    ) -> None:
        """`canary_s`: the time between heartbeat jobs, as is set here; 0 for none."""
        self._store, self._spine, self._aggregates = store, spine, aggregates
        self._clock = clock
        self._canary_s = canary_s

    async def look(self) -> tuple[dict[str, Any], Freshness]:
        """The document of ``GET /system``, and how fresh the aggregates are."""
        as_of = await self._clock.now()
        (freshness, heartbeat), of_store, of_rest = await asyncio.gather(
            asyncio.gather(self._clock.freshness(as_of), self._heartbeat()),
            asyncio.gather(_asked(self._store.check()), _asked(self._store.outbox_backlog())),
            asyncio.gather(
                _asked(self._spine.check()),
                _asked(self._spine.dead_letters()),
                _asked(self._aggregates.position()),
            ),
        )
        (facts, store), (backlog, _) = of_store
        (_, spine), (dead, _), (_, aggregates) = of_rest
        schema = None if facts is None else f"{facts['backend']} schema {facts['schema']}"
        shown = {
            "asOf": to_rfc3339(as_of),
            "version": __version__,
            "backends": [
                {"name": "store", "ok": facts is not None, "detail": schema or store},
                {"name": "spine", "ok": spine is None, "detail": spine},
                {"name": "aggregates", "ok": aggregates is None, "detail": aggregates},
            ],
            "log": {
                "offset": freshness.log_offset,
                "lagSeconds": freshness.lag_s,
                "complete": freshness.complete,
                "rebuilding": freshness.rebuilding,
            },
            "outbox": None
            if backlog is None
            else {"commits": backlog.commits, "oldestAt": optional_rfc3339(backlog.oldest_at)},
            "deadLetters": dead,
            "heartbeatIntervalSeconds": self._canary_s,
            "heartbeat": heartbeat,
        }
        return shown, freshness

    async def _heartbeat(self) -> dict[str, Any] | None:
        """The newest heartbeat job, and when one last came through."""
        through = JobFilter(type=HEARTBEAT_JOB, states=(State.COMPLETED,))
        (newest, _), (completed, _) = await asyncio.gather(
            _asked(self._store.list_jobs(JobFilter(type=HEARTBEAT_JOB), None, 1)),
            _asked(self._store.list_jobs(through, None, 1)),
        )
        if not newest:
            return None
        last: Job | None = completed[0] if completed else None
        return {
            "jobId": newest[0].id,
            "state": newest[0].state,
            "acceptedAt": to_rfc3339(newest[0].created_at),
            "lastCompletedAt": None if last is None else optional_rfc3339(last.finished_at),
        }


async def _asked(question: Awaitable[T]) -> tuple[T | None, str | None]:
    """The answer, or why there is none."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await question, None
    except TimeoutError:
        return None, f"no answer within {_PATIENCE_S:g} s"
    except ObservatoryError as error:
        return None, str(error)[:_DETAIL_CHARS_MAX] or type(error).__name__
