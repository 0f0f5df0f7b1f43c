"""After the commit: publish what it recorded, in order, until the spine confirms it.

Three lanes, so that no commit waits for a step of another: what it tells goes to the log, then
its runnable jobs go to their work queues, then its outbox row is forgotten. The work waits for the
log's confirm: whoever claims a job has the log tell of it after what came before.

The outbox row of a commit is forgotten only after the confirms, so whatever dies between, the
relay finds the row and publishes it again. A repeat is recognised by its number.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from itertools import islice, pairwise

import structlog

from observatory.core.errors import BacklogFull, Draining
from observatory.core.event import Event, encode_batch, encode_commit, events_in
from observatory.core.job import Commit
from observatory.core.spine import LogEntry, Spine, work_of
from observatory.core.store import Store
from observatory.runtime.failpoints import reach
from observatory.runtime.loop import Loop

_log = structlog.get_logger(__name__)

_COMMITS_MAX = 64
"""Commits published together at most."""

_LOOK_S = 0.5
"""Commits wake the lanes as they arrive; a lane looks by itself as well after what was refused."""

_FORGET_AFTER_S = 0.02
"""Rows confirmed within this are forgotten in one write. Nothing waits for it, so there is no
hurry; but what another process does to a job meanwhile is left to the relay, so not much longer."""


class Dispatcher:
    """Publishes a process's commits in the order of their numbers."""

    def __init__(self, store: Store, spine: Spine, source: str, backlog_max: int) -> None:
        self._store = store
        self._spine = spine
        self._source = source
        self._backlog_max = backlog_max
        self._waiting: deque[Commit] = deque()
        self._logged: deque[Commit] = deque()
        self._backlog = 0
        self._sent: list[int] = []
        self._last: int | None = None
        """The number that was told to the log last."""
        self._refuses = False
        self.published = {"confirmed": 0, "failed": 0}
        """Events that were given to the spine, by what came of it."""
        self.loops = (
            Loop("dispatch to the log", self._tell, _LOOK_S),
            Loop("dispatch work", self._send, _LOOK_S),
            Loop("forget", self._forget_soon, _LOOK_S),
        )

    @property
    def backlog(self) -> int:
        """Transitions whose work and events are not confirmed yet: a commit may hold one or a
        thousand, and it is they that take memory."""
        return self._backlog

    def admit(self, waiting: int, waiting_max: int) -> None:
        """Refuse new work while too much waits: to be dispatched, or `waiting` to be committed.

        Raises:
            BacklogFull: over a limit.
            Draining: this process is about to end.
        """
        if self._refuses:
            raise Draining("this process is about to end and takes no more; send it again")
        if waiting >= waiting_max:
            raise BacklogFull("too many requests wait for the store; slow down", retry_after_s=1)
        if self.backlog >= self._backlog_max:
            raise BacklogFull(
                "the spine has not taken accepted work for a while; try again later",
                retry_after_s=5,
            )

    def refuse_more(self) -> None:
        """Admit nothing from now on; what was admitted is published."""
        self._refuses = True

    def put(self, commit: Commit | None) -> None:
        """Publish a commit soon. Must be called in the order of the commits."""
        if commit is not None:
            self._waiting.append(commit)
            self._backlog += len(commit.transitions)
            self.loops[0].wake()

    @property
    def source(self) -> str:
        """Who publishes here, as events name it."""
        return self._source

    async def announce(self, events: list[Event]) -> None:
        """Publish events that no transaction stands behind (progress, heartbeats)."""
        entry = LogEntry(encode_batch(events))
        await self._counted(self._spine.publish([entry], []), len(events))

    def start(self) -> None:
        """Begin to publish."""
        for lane in self.loops:
            lane.start()

    async def stop(self) -> None:
        """Publish what waits, as far as the spine takes it, and stop."""
        for lane in self.loops:
            await lane.stop()
        try:
            for step in (self._tell, self._send, self._forget):
                while await step():
                    pass
        except Exception as error:
            # The outbox holds what is left; the relay publishes it.
            _log.warning("dispatch.left", error=repr(error), backlog=self.backlog)

    async def _fill_hole(self) -> None:
        """Put what is missing before the next commit in its place: where the answer to a commit
        was lost, or whoever waited for it was gone, nobody gave it to be published."""
        if not self._waiting or self._last is None:
            return
        following = self._waiting[0].number
        if following > self._last + 1:
            found = await self._store.outbox(self._store.publisher, self._last, following)
            _log.warning("dispatch.found", commits=len(found), before=following)
            self._waiting.extendleft(reversed(found))
            self._backlog += sum(len(commit.transitions) for commit in found)
            self._last = following - 1

    async def _tell(self) -> bool:
        await self._fill_hole()
        commits = _without_hole(list(islice(self._waiting, _COMMITS_MAX)))
        if not commits:
            return False
        at_once = self._spine.publishes_at_once
        reach("dispatch.before_publish")
        work = work_of(commits) if at_once else []
        await self._counted(self._spine.publish(self._entries(commits), work), _events(commits))
        self._last = max(self._last or 0, commits[-1].number)
        for commit in commits:
            self._waiting.popleft()
            if at_once:
                self._done_with(commit)
            else:
                self._logged.append(commit)
        self.loops[2 if at_once else 1].wake()
        return True

    async def _send(self) -> bool:
        commits = list(islice(self._logged, _COMMITS_MAX))
        if not commits:
            return False
        reach("dispatch.before_work")
        if work := work_of(commits):
            await self._spine.publish([], work)
        for commit in commits:
            self._logged.popleft()
            self._done_with(commit)
        self.loops[2].wake()
        return True

    def _done_with(self, commit: Commit) -> None:
        self._sent.append(commit.number)
        self._backlog -= len(commit.transitions)

    async def _forget_soon(self) -> bool:
        if self._sent:
            await asyncio.sleep(_FORGET_AFTER_S)
        return await self._forget()

    async def _forget(self) -> bool:
        if not self._sent:
            return False
        reach("dispatch.after_publish")
        numbers, self._sent = self._sent, []
        try:
            await self._store.published(numbers)
        except BaseException:
            self._sent = numbers + self._sent
            raise
        return True

    async def publish(self, commits: list[Commit]) -> None:
        """Publish commits, of whichever publisher, once."""
        await self._counted(
            self._spine.publish(self._entries(commits), work_of(commits)), _events(commits)
        )

    async def _counted(self, publishing: Awaitable[None], events: int) -> None:
        """Publish, and count what came of it."""
        try:
            await publishing
        except BaseException:
            self.published["failed"] += events
            raise
        self.published["confirmed"] += events

    def _entries(self, commits: list[Commit]) -> list[LogEntry]:
        return [
            LogEntry(encode_commit(commit, self._source), commit.publisher, commit.number)
            for commit in commits
        ]


def _events(commits: list[Commit]) -> int:
    return sum(events_in(t) for commit in commits for t in commit.transitions)


def _without_hole(commits: list[Commit]) -> list[Commit]:
    """As many as follow one another without a number left out."""
    for position, (one, following) in enumerate(pairwise(commits), 1):
        if following.number > one.number + 1:
            return commits[:position]
    return commits
