"""The rescuer: attempts of dead workers end as lost and go the way of a failed attempt."""

from typing import Final

import structlog

from observatory.core.errors import ObservatoryError
from observatory.core.event import worker_event
from observatory.core.instant import MICROSECONDS
from observatory.core.job import WorkerRecord
from observatory.core.store import Store
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.tracing import active

_log = structlog.get_logger(__name__)

_JOBS_MAX: Final = 500


class Rescuer:
    """Rescues jobs from dead workers."""

    def __init__(self, store: Store, dispatcher: Dispatcher, worker: str, lease_s: float) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._worker = worker
        self._lease_s = lease_s

    async def tick(self, lease_s: float | None = None) -> bool:
        """Rescue once; True where there may be more. `lease_s` overrides the setting."""
        lease_us = int((self._lease_s if lease_s is None else lease_s) * MICROSECONDS)
        dead, commit = await self._store.rescue(self._worker, lease_us, _JOBS_MAX)
        self._dispatcher.put(commit)
        if commit is not None and (spans := active()) is not None:
            spans.lost(commit.transitions, await self._last_seen(dead))
        if dead:
            _log.warning("rescuer.workers_lost", workers=[worker.id for worker in dead])
            at = await self._store.now()
            source = f"/observatory/processor/{self._store.publisher}"
            events = [worker_event("lost", worker, at, source) for worker in dead]
            await self._dispatcher.announce(events)
        return commit is not None and len(commit.transitions) == _JOBS_MAX

    async def _last_seen(self, dead: list[WorkerRecord]) -> dict[str, int]:
        seen = {one.id: one.seen_at for one in dead}
        try:
            # Those found dead in an earlier turn, which was not enough for all that they left.
            return {one.id: one.seen_at for one in await self._store.workers()} | seen
        except ObservatoryError as error:
            _log.warning("rescuer.last_seen_unknown", error=str(error))
            return seen
