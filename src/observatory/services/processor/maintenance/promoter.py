"""The promoter: scheduled jobs and retries that are due → queued. The store is the timer."""

from typing import Final

from observatory.core.store import Store
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.failpoints import reach

_JOBS_MAX: Final = 500
"""Jobs promoted in one transaction; caps a storm of retries that fall due together."""


class Promoter:
    """Promotes due jobs."""

    def __init__(self, store: Store, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    async def tick(self) -> bool:
        """Promote what is due; True where more may be due."""
        reach("maintenance.before_promote")
        commit = await self._store.promote(_JOBS_MAX)
        if commit is not None:
            reach("maintenance.after_promote")
        self._dispatcher.put(commit)
        return commit is not None and len(commit.transitions) == _JOBS_MAX
