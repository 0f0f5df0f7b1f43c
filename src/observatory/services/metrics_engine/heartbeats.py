"""When the last heartbeat job came to each stage of the pipeline."""

import time
from collections.abc import Mapping
from typing import Final

import structlog

from observatory.core.canary import APPLIED, HEARTBEAT_JOB, STAGE_OF_EVENT
from observatory.core.errors import ObservatoryError
from observatory.core.lifecycle import State
from observatory.core.store import JobFilter, StoreReads

_log = structlog.get_logger(__name__)

_ACCEPTED: Final = STAGE_OF_EVENT["job.created"]
_STARTED: Final = STAGE_OF_EVENT["job.started"]
_COMPLETED: Final = STAGE_OF_EVENT["job.completed"]


class Heartbeats:
    """Learns of the stages from the log, and at the start from the record."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        """Stage → when, of those that one is known to have come to."""

    async def recall(self, store: StoreReads) -> None:
        """Learn what was before this process followed the log: where the pipeline is blocked no
        event would ever tell, and what is not told looks like a system without heartbeat jobs."""
        try:
            newest = await store.list_jobs(JobFilter(type=HEARTBEAT_JOB), None, 1)
            through = JobFilter(type=HEARTBEAT_JOB, states=(State.COMPLETED,))
            newest += await store.list_jobs(through, None, 1)
        except ObservatoryError as error:
            _log.warning("heartbeats.not_recalled", error=str(error))
            return
        for job in newest:
            self._came_to(_ACCEPTED, job.created_at)
            self._came_to(_STARTED, job.started_at)
            if job.state is State.COMPLETED:
                self._came_to(_COMPLETED, job.finished_at)

    def applied(self, stages: Mapping[str, int]) -> None:
        """What the log told has been added to the aggregates."""
        for stage, at in stages.items():
            self._came_to(stage, at)
        if _COMPLETED in stages:
            self.last[APPLIED] = time.time_ns() // 1000

    def _came_to(self, stage: str, at: int | None) -> None:
        if at is not None:
            self.last[stage] = max(at, self.last.get(stage, at))
