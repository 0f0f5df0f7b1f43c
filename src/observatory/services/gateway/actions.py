"""What an operator does: cancel a job on record, run it again, pause a queue."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from observatory.core.errors import NotFound, SpineUnavailable
from observatory.core.event import queue_event
from observatory.core.job import Commit, Submission
from observatory.core.lifecycle import Move, after
from observatory.core.store import Accepted, Cancellation, Store
from observatory.runtime.dispatch import Dispatcher
from observatory.services.gateway.accept import Acceptor
from observatory.services.gateway.submission import Context, Reader

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Operator:
    """Cancels and retries jobs, pauses and resumes queues."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, acceptor: Acceptor, reader: Reader
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._acceptor = acceptor
        self._reader = reader

    async def cancel(
        self, job_id: str, reason: str | None, version: int | None = None
    ) -> Cancellation:
        """Cancel a job; raises what `StoreWrites.cancel` raises."""
        return await self._to_the_end(self._store.cancel(job_id, reason, version))

    async def retry(self, job_id: str, version: int | None = None) -> int:
        """Run a job again; returns its version. Raises what `StoreWrites.requeue` raises."""
        return await self._to_the_end(self._store.requeue(job_id, version))

    async def retry_with(self, job_id: str, payload: Any, context: Context) -> str:
        """Run a descendant of a job with another payload; returns the new job's id.

        Raises:
            NotFound: no such job.
            IllegalTransition: the job waits or runs already.
            ValidationFailed: the payload does not meet the contract.
        """
        job = await self._store.job(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        after(job.state, Move.REQUEUE_BY_OPERATOR)
        submission: Submission = await self._reader.again(job, payload, context)
        (accepted,) = await self._acceptor.accept([submission])
        assert isinstance(accepted, Accepted), "no key was given, so none can be reused"
        return accepted.job_id

    async def pause(self, queue: str, paused: bool, by: str) -> None:
        """Have every processor leave a queue alone, or take it up again; `by` is who wants it."""
        if not await self._store.pause_queue(queue, paused):
            return
        kind = "paused" if paused else "resumed"
        event = queue_event(kind, queue, by, await self._store.now(), self._dispatcher.source)
        try:
            await self._dispatcher.announce([event])
        except SpineUnavailable as error:
            # The record decides; the event is for those who watch.
            _log.warning("queue.unannounced", queue=queue, kind=kind, error=str(error))

    async def _to_the_end(self, change: Coroutine[Any, Any, tuple[T, Commit | None]]) -> T:
        async def write() -> T:
            result, commit = await change
            self._dispatcher.put(commit)
            return result

        # A caller that goes away must not leave a commit that nobody publishes.
        return await asyncio.shield(asyncio.create_task(write()))
