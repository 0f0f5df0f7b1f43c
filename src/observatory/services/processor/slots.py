"""The slots of a worker: which runs are under way, and which jobs wait here for a slot.

A slot is free while its next job is claimed, which takes a commit. Where jobs are about as short
as a commit, slots would idle for much of the time, so a few jobs are claimed ahead: as many as the
slots get through while two claims are made. Where jobs are long, that is none.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from observatory.core.lifecycle import OutcomeKind
from observatory.services.processor.run import Run

_GATHER_S: Final = 0.003
"""How long a few free slots wait for more to come free, so that one claim fills many."""
_CLAIMS_AHEAD: Final = 2
"""One claim's time is covered by what waits when it begins, one by what it brings."""
_OWNED_MAX: Final = 200
"""No jobs are claimed ahead beyond this: a claim of so many costs no less a job than of more."""
_WAIT_MAX_S: Final = 0.25
"""Jobs that waited here for so long are handed back: what runs now is longer than what ran."""
_ENDS_KEPT: Final = 256


class Slots:
    """The runs that a worker has on record, of which no more are under way than it has slots."""

    def __init__(self, count: int, may_begin: Callable[[], bool] = lambda: True) -> None:
        """`may_begin`: whether the worker may begin a run now; what it may not is handed back."""
        self.count = count
        self.runs: dict[tuple[str, int], Run] = {}
        """By (job, attempt); those under way and those that wait."""
        self.under_way = 0
        """Runs that have begun and not ended."""
        self._may_begin = may_begin
        self._waiting: dict[Run, asyncio.TimerHandle] = {}
        """In the order in which they came; with what hands each back when it has waited too
        long."""
        self._ahead = 0
        self._ended_before = 0
        self._ended_at: deque[float] = deque(maxlen=_ENDS_KEPT)
        self._freed = asyncio.Event()
        self._many_freed = asyncio.Event()

    @property
    def idle(self) -> int:
        """Slots that nothing runs in."""
        return max(0, self.count - self.under_way)

    @property
    def room(self) -> int:
        """How many more jobs to own: free slots, and what may be claimed ahead. While no slot
        idles there is no hurry: then none, until a claim of many is worth it."""
        room = max(0, self._capacity - len(self.runs))
        return 0 if self._waiting and room < self._worth_a_claim else room

    @property
    def _capacity(self) -> int:
        return max(self.count, min(self.count + self._ahead, 2 * self.count, _OWNED_MAX))

    @property
    def _worth_a_claim(self) -> int:
        return self._capacity // 4

    def claimed(self, began: float, ended: float) -> None:
        """A claim was made between these times, by the event loop's clock. The lesser count of
        the last two decides, so that jobs which end together by chance count for little."""
        meanwhile = sum(began <= at <= ended for at in self._ended_at)
        self._ahead = _CLAIMS_AHEAD * min(meanwhile, self._ended_before)
        self._ended_before = meanwhile

    def take(self, run: Run) -> None:
        """Begin a run of a claimed job, at once or when a slot is free."""
        self.runs[run.job.id, run.job.attempt] = run
        if not self._may_begin():
            run.end(OutcomeKind.RELEASED)
        elif self.idle:
            self._begin(run)
        else:
            loop = asyncio.get_running_loop()
            self._waiting[run] = loop.call_later(_WAIT_MAX_S, self._hand_back_overdue, run)

    def _begin(self, run: Run) -> None:
        self.under_way += 1
        run.start()

    def settled(self, run: Run) -> None:
        """A run has settled: its slot goes to the one that has waited longest."""
        del self.runs[run.job.id, run.job.attempt]
        if run.began_at is not None:
            self.under_way -= 1
            self._ended_at.append(asyncio.get_running_loop().time())
        elif (timer := self._waiting.pop(run, None)) is not None:
            timer.cancel()
        if self._waiting and self.idle and self._may_begin():
            following = next(iter(self._waiting))
            self._waiting.pop(following).cancel()
            self._begin(following)
        self.wake()
        if self.room >= self._worth_a_claim:
            self._many_freed.set()

    def hand_back_waiting(self, queues: Collection[str] | None = None) -> None:
        """Hand back the jobs that wait; with `queues`, those of other queues."""
        for run in list(self._waiting):
            if queues is None or run.job.queue not in queues:
                run.end(OutcomeKind.RELEASED)

    def _hand_back_overdue(self, run: Run) -> None:
        self._ahead = self._ended_before = 0
        run.end(OutcomeKind.RELEASED)

    def wake(self) -> None:
        """Let those look anew who wait for a slot, or for the last run."""
        self._freed.set()

    async def gather(self) -> None:
        """Where little room is, wait a moment for more."""
        if self.runs and self.room < self._worth_a_claim:
            self._many_freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._many_freed.wait()

    async def freed(self, timeout_s: float) -> bool:
        """Wait until a run has settled; False where none has in that time."""
        self._freed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._freed.wait()
        except TimeoutError:
            return False
        return True
