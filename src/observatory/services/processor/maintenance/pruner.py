"""The pruner: removes terminal jobs and log messages once their retention is over."""

from typing import Final

from observatory.core.instant import MICROSECONDS
from observatory.core.spine import Spine
from observatory.core.store import Store
from observatory.runtime.dispatch import Dispatcher

_JOBS_MAX: Final = 500
_DAY_US: Final = 86_400 * MICROSECONDS


class Pruner:
    """Applies retention in small steps, so that nothing else waits long."""

    def __init__(
        self,
        store: Store,
        spine: Spine,
        dispatcher: Dispatcher,
        job_days: float,
        event_days: float,
    ) -> None:
        self._store = store
        self._spine = spine
        self._dispatcher = dispatcher
        self._job_days = job_days
        self._event_days = event_days

    async def tick(self) -> bool:
        """Prune one step; True where more is over its time."""
        now = await self._store.now()
        commit = await self._store.prune(now - int(self._job_days * _DAY_US), _JOBS_MAX)
        self._dispatcher.put(commit)
        if commit is not None:
            return True  # The log comes last, since looking at its beginning costs a reader.
        dropped = await self._spine.trim_log(now - int(self._event_days * _DAY_US))
        return dropped > 0
