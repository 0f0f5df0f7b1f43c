"""Finishing: give it how an attempt ended; it is recorded together with others, fenced."""

import asyncio
from typing import Final

import structlog

from observatory.core.errors import StoreUnavailable
from observatory.core.job import FinishedAttempt
from observatory.core.lifecycle import ErrorInfo, OutcomeKind
from observatory.core.store import StoreWrites
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.gather import Gather

_log = structlog.get_logger(__name__)

_ATTEMPTS_MAX: Final = 200
_PAUSE_AFTER_ERROR_S: Final = 0.5


class Finisher:
    """Writes outcomes until the store has taken them."""

    def __init__(self, store: StoreWrites, dispatcher: Dispatcher, worker: str) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._worker = worker
        self._gather = Gather(self._write, _ATTEMPTS_MAX)
        self.stale = 0
        """Outcomes that came too late: the attempt was no longer this worker's."""

    async def finish(self, attempt: FinishedAttempt) -> bool:
        """Record an outcome; False where the attempt was no longer this worker's to end."""
        while True:
            try:
                (recorded,) = await self._gather.add([attempt])
            except StoreUnavailable as error:
                _log.warning("finish.waits_for_store", error=str(error))
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            except Exception as error:
                if attempt.outcome is OutcomeKind.UNSERIALISABLE:
                    raise
                # The store refuses this row as such: end it with a text that is surely storable.
                _log.exception("finish.refused", job=attempt.job, attempt=attempt.attempt)
                attempt = _unrecordable(attempt, error)
            else:
                break
        if not recorded:
            self.stale += 1
            _log.warning("finish.stale", job=attempt.job, attempt=attempt.attempt)
        return recorded

    async def _write(self, attempts: list[FinishedAttempt]) -> list[bool]:
        recorded, commit = await self._store.finish(attempts, self._worker)
        self._dispatcher.put(commit)
        return recorded


def _unrecordable(attempt: FinishedAttempt, error: Exception) -> FinishedAttempt:
    text = f"the outcome ({attempt.outcome}) could not be recorded: {type(error).__name__}"
    return FinishedAttempt(
        job=attempt.job,
        attempt=attempt.attempt,
        outcome=OutcomeKind.UNSERIALISABLE,
        retry=attempt.retry,
        jitter=attempt.jitter,
        error=ErrorInfo("UnrecordableOutcome", text),
    )
