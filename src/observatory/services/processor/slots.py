"""The slots of a worker: which runs are under way, and which jobs wait here for a slot.

A slot is free while its next job is claimed, which takes a commit. Where jobs are about as short
as a commit, slots would idle for much of the time, so a few jobs are claimed ahead: as many as the
slots get through while two claims are made. Where jobs are long, that is none.
"""

import asyncio
import contextlib
from collections import deque
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

    def __init__(self, count: int) -> None:
        self.count = count
        self.runs: dict[tuple[str, int], Run] = {}
        """By (job, attempt); those under way and those that wait."""
        self._waiting: deque[tuple[float, Run]] = deque()
        """With when they began to wait."""
        self._ahead = 0
        self._ended_before = 0
        self._ended_at: deque[float] = deque(maxlen=_ENDS_KEPT)
        self._freed = asyncio.Event()
        self._many_freed = asyncio.Event()

    @property
    def under_way(self) -> int:
        """Runs that have begun and not ended."""
        return len(self.runs) - len(self._waiting)

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

    def claimed(self, seconds: float) -> None:
        """A claim took so long. The lesser count of the last two decides, so that jobs which end
        together by chance count for little."""
        since = asyncio.get_running_loop().time() - seconds
        ended = sum(at > since for at in self._ended_at)
        self._ahead = _CLAIMS_AHEAD * min(ended, self._ended_before)
        self._ended_before = ended

    def take(self, run: Run) -> None:
        """Begin a run of a claimed job, at once or when a slot is free."""
        has_slot = self.under_way < self.count
        self.runs[run.job.id, run.job.attempt] = run
        if has_slot:
            run.start()
        else:
            self._waiting.append((asyncio.get_running_loop().time(), run))

    def settled(self, run: Run) -> None:
        """A run has settled: its slot goes to the one that has waited longest."""
        del self.runs[run.job.id, run.job.attempt]
        if run.began_at is None:
            self._waiting = deque(one for one in self._waiting if one[1] is not run)
        else:
            self._ended_at.append(asyncio.get_running_loop().time())
            if self._waiting:
                self._waiting.popleft()[1].start()
        self.wake()
        if self.room >= self._worth_a_claim:
            self._many_freed.set()

    def hand_back_waiting(self, *, overdue: bool = False) -> None:
        """Hand back the jobs that wait, or those of them that have waited too long."""
        latest = asyncio.get_running_loop().time() - (_WAIT_MAX_S if overdue else 0.0)
        for run in [run for since, run in self._waiting if since <= latest]:
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
            async with asyncio.timeout(min(timeout_s, _WAIT_MAX_S) if self._waiting else timeout_s):
                await self._freed.wait()
        except TimeoutError:
            return False
        return True
