"""The relay: publishes what the outbox still holds because its publisher is gone or slow."""

from typing import Final

import structlog

from observatory.core.instant import MICROSECONDS
from observatory.core.store import Store
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.failpoints import reach

_log = structlog.get_logger(__name__)

_SLOW_AFTER_S: Final = 10.0
"""An outbox row older than this is published by the relay too; a repeat is harmless."""

_COMMITS_MAX: Final = 100


class Relay:
    """Publishes commits left in the outbox."""

    def __init__(self, store: Store, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    async def tick(self, older_than_s: float = _SLOW_AFTER_S) -> bool:
        """Publish what is left; True where there may be more."""
        commits = await self._store.unpublished(int(older_than_s * MICROSECONDS), _COMMITS_MAX)
        if not commits:
            return False
        _log.warning("relay.publishes", commits=len(commits))
        reach("relay.before_publish")
        await self._dispatcher.publish(commits)
        reach("relay.after_publish")
        for publisher in {commit.publisher for commit in commits}:
            numbers = [c.number for c in commits if c.publisher == publisher]
            await self._store.published(numbers, publisher)
        return len(commits) == _COMMITS_MAX
