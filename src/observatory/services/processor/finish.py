"""Finishing: give it how an attempt ended; it is recorded together with others, fenced."""

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from observatory.core.errors import ObservatoryError, StoreUnavailable
from observatory.core.job import FinishedAttempt
from observatory.core.lifecycle import ErrorInfo, OutcomeKind, State
from observatory.core.store import Store
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.failpoints import reach

if TYPE_CHECKING:
    from observatory.runtime.spans import AttemptSpans

_log = structlog.get_logger(__name__)

_ATTEMPTS_MAX: Final = 200
_COMPANY_S: Final = 0.015
"""How long an outcome waits for others to share its commit and its message, where the last one
before it came as closely; where few jobs run, each is recorded at once. Its slot is free meanwhile,
so that no job waits for it."""
_PAUSE_AFTER_ERROR_S: Final = 0.5
_UNRECORDABLE: Final = "UnrecordableOutcome"
_NO_ERROR: Final = ErrorInfo("", "")


class Finisher:
    """Writes outcomes until the store has taken them; those that come meanwhile go together."""

    def __init__(self, store: Store, dispatcher: Dispatcher, worker: str) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._worker = worker
        self._waiting: list[FinishedAttempt] = []
        self.pending: set[tuple[str, int]] = set()
        """(job, attempt) of outcomes that are expected here and not recorded yet."""
        self._spans: dict[tuple[str, int], AttemptSpans] = {}
        """Of those, while tracing is on."""
        self._writing: asyncio.Task[None] | None = None
        self._put_at = -math.inf
        self._settling = asyncio.Event()
        self.stale = 0
        """Outcomes that came too late: the attempt was no longer this worker's."""

    def put(self, attempt: FinishedAttempt) -> None:
        """Have an outcome recorded soon."""
        self.expect(attempt)
        self._waiting.append(attempt)
        now = asyncio.get_running_loop().time()
        others_come, self._put_at = now - self._put_at < _COMPANY_S, now
        if self._writing is None or self._writing.done():
            # It records what others put, too: the context of this one's run is not its own.
            self._writing = asyncio.create_task(
                self._write(_COMPANY_S if others_come else 0),
                name="finish",
                context=contextvars.Context(),
            )

    def expect(self, attempt: FinishedAttempt, spans: "AttemptSpans | None" = None) -> None:
        """This outcome will be put here; its spans are told when it is recorded."""
        self.pending.add((attempt.job, attempt.attempt))
        if spans is not None:
            self._spans[attempt.job, attempt.attempt] = spans

    async def settle(self) -> None:
        """Wait until every outcome is recorded."""
        self._settling.set()
        while self._writing is not None and not self._writing.done():
            await self._writing
        self._settling.clear()

    async def _write(self, company_s: float) -> None:
        if company_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(company_s):
                    await self._settling.wait()
        while self._waiting:
            reach("processor.before_finish")
            attempts = self._waiting[:_ATTEMPTS_MAX]
            del self._waiting[:_ATTEMPTS_MAX]
            await self._record(attempts)
            self.pending.difference_update((a.job, a.attempt) for a in attempts)

    async def _record(self, attempts: list[FinishedAttempt]) -> None:
        doubtful = False
        while True:
            try:
                recorded, commit = await self._store.finish(attempts, self._worker)
            except StoreUnavailable as error:
                doubtful = True
                _log.warning("finish.waits_for_store", error=str(error))
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            except Exception as error:
                await self._single_out(attempts, error)
                return
            else:
                break
        reach("processor.after_finish")
        self._dispatcher.put(commit)
        transitions = commit.transitions if commit is not None else ()
        states: dict[str, State | None] = {one.job: one.state for one in transitions}
        for attempt, taken in zip(attempts, recorded, strict=True):
            if taken:
                continue
            if doubtful and (earlier := await self._recorded_before(attempt)) is not None:
                states[attempt.job] = earlier
                continue
            self.stale += 1
            _log.warning("finish.stale", job=attempt.job, attempt=attempt.attempt)
        self._trace(attempts, states)

    def _trace(self, attempts: list[FinishedAttempt], states: Mapping[str, State | None]) -> None:
        for attempt in attempts if self._spans else ():
            if (spans := self._spans.pop((attempt.job, attempt.attempt), None)) is not None:
                spans.recorded(states.get(attempt.job))

    async def _recorded_before(self, attempt: FinishedAttempt) -> State | None:
        """What an earlier try, whose answer was lost, has made of the job; None where it did not
        record this outcome."""
        own = (attempt.attempt, attempt.outcome, self._worker)
        with contextlib.suppress(ObservatoryError):
            for one in await self._store.history(attempt.job):
                if (one.attempt, one.outcome, one.worker) == own:
                    return one.state
        return None

    async def _single_out(self, attempts: list[FinishedAttempt], error: Exception) -> None:
        """The store refuses a row as such: find it, and end it with a text it surely takes."""
        if len(attempts) > 1:
            middle = len(attempts) // 2
            await self._record(attempts[:middle])
            await self._record(attempts[middle:])
            return
        _log.error("finish.refused", job=attempts[0].job, error=repr(error))
        if (attempts[0].error or _NO_ERROR).type != _UNRECORDABLE:
            await self._record([_unrecordable(attempts[0], error)])
        else:
            self._trace(attempts, {})


def _unrecordable(attempt: FinishedAttempt, error: Exception) -> FinishedAttempt:
    text = f"the outcome ({attempt.outcome}) could not be recorded: {type(error).__name__}"
    return FinishedAttempt(
        job=attempt.job,
        attempt=attempt.attempt,
        outcome=OutcomeKind.UNSERIALISABLE,
        retry=attempt.retry,
        jitter=attempt.jitter,
        error=ErrorInfo(_UNRECORDABLE, text),
    )
