"""The reconciler: queued jobs that no work queue holds any more are put back into one."""

from typing import Final

import structlog

from observatory.core.instant import MICROSECONDS
from observatory.core.job import Commit
from observatory.core.spine import Spine, work_of
from observatory.core.store import Store

_log = structlog.get_logger(__name__)

_QUIET_FOR_S: Final = 8.0
"""Only jobs that have waited longer are looked at: younger ones are still on their way."""

_JOBS_MAX: Final = 20_000
"""Each look reads the whole of the work queues, so few looks are to be taken."""


class Reconciler:
    """Compares the store's queued jobs with the work queues."""

    def __init__(self, store: Store, spine: Spine) -> None:
        self._store = store
        self._spine = spine
        self._after_id = ""

    async def tick(self, older_than_s: float = _QUIET_FOR_S) -> bool:
        """Look at the next `_JOBS_MAX` queued jobs; True where more follow."""
        before = await self._store.now() - int(older_than_s * MICROSECONDS)
        after = self._after_id
        queued = await self._store.queued(before, after, _JOBS_MAX)
        missing = await self._spine.missing(queued) if queued else []
        if missing:
            # A job that was claimed between the two looks has lost its message, as it should. The
            # claim was committed before the message went, so the store knows by now.
            still = {(t.job, t.version) for t in await self._store.queued(before, after, _JOBS_MAX)}
            missing = [t for t in missing if (t.job, t.version) in still]
        if missing:
            _log.warning("reconciler.puts_back", jobs=len(missing))
            await self._spine.publish([], work_of([Commit("", 0, tuple(missing))]))
        self._after_id = queued[-1].job if len(queued) == _JOBS_MAX else ""
        return bool(self._after_id)
