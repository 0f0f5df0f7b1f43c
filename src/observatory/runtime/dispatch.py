"""After the commit: publish what it recorded, in order, until the spine confirms it.

The outbox row of a commit is forgotten only after the confirm, so whatever dies between, the
relay finds the row and publishes it again. A repeat is recognised by its number.
"""

import asyncio
from collections import deque

import structlog

from observatory.core.errors import BacklogFull
from observatory.core.event import Event, encode_batch, encode_commit
from observatory.core.job import Commit
from observatory.core.spine import LogEntry, Spine, work_of
from observatory.core.store import StoreLiveness
from observatory.runtime.failpoints import reach
from observatory.runtime.loop import Loop

_log = structlog.get_logger(__name__)

_COMMITS_MAX = 64
"""Commits published together at most."""

_LOOK_S = 0.5
"""Commits wake the loop as they arrive; it looks by itself as well after what was refused."""


class Dispatcher:
    """Publishes a process's commits in the order of their numbers."""

    def __init__(self, store: StoreLiveness, spine: Spine, source: str, backlog_max: int) -> None:
        self._store = store
        self._spine = spine
        self._source = source
        self._backlog_max = backlog_max
        self._waiting: deque[Commit] = deque()
        self._forget: list[int] = []
        self._loop = Loop("dispatcher", self._step, _LOOK_S)

    @property
    def backlog(self) -> int:
        """Commits that are not confirmed yet."""
        return len(self._waiting)

    def admit(self, waiting: int, waiting_max: int) -> None:
        """Refuse new work while too much waits: to be dispatched, or `waiting` to be committed.

        Raises:
            BacklogFull: over a limit.
        """
        if waiting >= waiting_max:
            raise BacklogFull("too many requests wait for the store; slow down", retry_after_s=1)
        if len(self._waiting) >= self._backlog_max:
            raise BacklogFull(
                "the spine has not taken accepted work for a while; try again later",
                retry_after_s=5,
            )

    def put(self, commit: Commit | None) -> None:
        """Publish a commit soon. Must be called in the order of the commits."""
        if commit is not None:
            self._waiting.append(commit)
            self._loop.wake()

    @property
    def source(self) -> str:
        """Who publishes here, as events name it."""
        return self._source

    async def announce(self, events: list[Event]) -> None:
        """Publish events that no transaction stands behind (progress, heartbeats)."""
        await self._spine.publish([LogEntry(encode_batch(events))], [])

    def start(self) -> None:
        """Begin to publish."""
        self._loop.start()

    async def stop(self) -> None:
        """Publish what waits, as far as the spine takes it, and stop."""
        await self._loop.stop()
        try:
            while await self._step():
                pass
        except Exception as error:
            # The outbox holds what is left; the relay publishes it.
            _log.warning("dispatch.left", error=repr(error), backlog=len(self._waiting))

    async def _step(self) -> bool:
        if not self._waiting and not self._forget:
            return False
        forget, self._forget = self._forget, []
        commits = [self._waiting[i] for i in range(min(len(self._waiting), _COMMITS_MAX))]
        reach("dispatch.before_publish")
        steps = [self._store.published(forget)] if forget else []
        steps += [self.publish(commits)] if commits else []
        for outcome in await asyncio.gather(*steps, return_exceptions=True):
            if outcome is not None:
                self._forget = forget
                raise outcome
        reach("dispatch.after_publish")
        for _ in commits:
            self._waiting.popleft()
        self._forget.extend(commit.number for commit in commits)
        return True

    async def publish(self, commits: list[Commit]) -> None:
        """Publish commits, of whichever publisher, once."""
        entries = [
            LogEntry(encode_commit(commit, self._source), commit.publisher, commit.number)
            for commit in commits
        ]
        await self._spine.publish(entries, [m for commit in commits for m in work_of(commit)])
