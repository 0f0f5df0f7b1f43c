"""Claiming: from work messages to jobs that this worker owns.

A message is acknowledged once its jobs are claimed. What the claim does not return is a repeat,
stale or cancelled, and is dropped: progress never depends on redelivery.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from observatory.core.errors import ObservatoryError
from observatory.core.job import ClaimedJob, Reference
from observatory.core.job_type import Handler
from observatory.core.spine import Delivery, Spine, WorkConsumer, WorkMessage
from observatory.core.store import StoreWrites
from observatory.runtime.dispatch import Dispatcher

_log = structlog.get_logger(__name__)

_TAKE_TIMEOUT_S: Final = 5.0
_SUSPECTS_PAUSE_S: Final = 0.05
_PAUSE_AFTER_ERROR_S: Final = 0.5
_DELIVERIES_MAX: Final = 16
"""Messages taken at once; each may name fifty jobs."""


class Claimer:
    """Keeps a few references at hand and claims as many as there are free slots."""

    def __init__(
        self,
        store: StoreWrites,
        spine: Spine,
        dispatcher: Dispatcher,
        worker: str,
        handlers: Mapping[str, Handler],
    ) -> None:
        self._store = store
        self._spine = spine
        self._dispatcher = dispatcher
        self._worker = worker
        self._handlers = handlers
        self._at_hand: deque[Reference] = deque()
        self._suspects: deque[tuple[Delivery, Reference]] = deque()
        self._unsorted: deque[Delivery] = deque()
        self._unsettled: list[Delivery] = []
        self._consumer: WorkConsumer | None = None
        self._suspect: str | None = None

    def open(self, queues: Sequence[str]) -> None:
        """Start to consume."""
        self._consumer = self._spine.consume(queues)

    async def close(self) -> None:
        """Stop consuming; what was not claimed is delivered again."""
        if self._consumer is not None:
            # It is kept: what the claim under way takes over is still to be acknowledged.
            await self._consumer.close()

    async def claim(self, free: int) -> list[ClaimedJob]:
        """Up to `free` jobs that this worker owns from now on; empty when there are none now."""
        if suspect := await self._claim_suspect():
            return suspect
        if not self._at_hand:
            await self._take(free)
        references = [self._at_hand.popleft() for _ in range(min(free, len(self._at_hand)))]
        if not references:
            return []
        try:
            jobs, commit = await self._store.claim(references, self._worker)
        except ObservatoryError:
            self._at_hand.extendleft(reversed(references))
            raise
        self._dispatcher.put(commit)
        if len(jobs) < len(references):
            _log.info("claim.dropped", count=len(references) - len(jobs))
        if not self._at_hand:
            self._settle()
        return jobs

    async def _take(self, free: int) -> None:
        if self._consumer is None:
            return
        if not self._unsorted:
            timeout_s = _SUSPECTS_PAUSE_S if self._suspects else _TAKE_TIMEOUT_S
            taken = await self._consumer.take(min(free, _DELIVERIES_MAX), timeout_s)
            self._unsorted.extend(taken)
        while self._unsorted:
            # Taken off only once it is sorted: the spine may refuse to park a part of it.
            await self._sort(self._unsorted[0])
            self._unsorted.popleft()
        if self._spine.shared and len(self._at_hand) > free:
            await self._hand_on(free)
        if not self._at_hand:
            self._settle()

    async def _sort(self, delivery: Delivery) -> None:
        message = delivery.message
        unknown = tuple(r for r in message.jobs if not self._can_run(r))
        if unknown:
            names = ", ".join(sorted({f"{r.type} v{r.contract_version}" for r in unknown}))
            _log.warning("claim.parked", job_types=names, count=len(unknown))
            reason = f"no handler here for {names}"
            await self._spine.park(WorkMessage(message.queue, message.priority, unknown), reason)
        known = [r for r in message.jobs if self._can_run(r)]
        if len(known) == 1 and known[0].suspect:
            self._suspects.append((delivery, known[0]))
            return
        self._at_hand.extend(known)
        self._unsettled.append(delivery)

    def _can_run(self, reference: Reference) -> bool:
        handler = self._handlers.get(reference.type)
        return handler is not None and handler.job_type.version == reference.contract_version

    async def _hand_on(self, free: int) -> None:
        groups: dict[tuple[str, str], list[Reference]] = {}
        owners = {r.id: d.message for d in self._unsettled for r in d.message.jobs}
        for reference in list(self._at_hand)[free:]:
            message = owners[reference.id]
            groups.setdefault((message.queue, message.priority), []).append(reference)
        await self._spine.publish(
            [], [WorkMessage(*key, tuple(rest)) for key, rest in groups.items()]
        )
        while len(self._at_hand) > free:
            self._at_hand.pop()

    def _settle(self) -> None:
        if self._unsettled and self._consumer is not None:
            self._consumer.acknowledge(self._unsettled)
        self._unsettled = []

    async def _claim_suspect(self) -> list[ClaimedJob]:
        # One suspect at a time: when it kills the worker, no other suspect is counted out with it.
        if self._suspect is not None or not self._suspects:
            return []
        delivery, reference = self._suspects[0]
        jobs, commit = await self._store.claim([reference], self._worker)
        self._suspects.popleft()
        self._dispatcher.put(commit)
        if self._consumer is not None:
            self._consumer.acknowledge([delivery])
        self._suspect = next((job.id for job in jobs), None)
        return jobs

    def ended(self, job_id: str) -> None:
        """A run is over; if it was the suspect's, the next suspect may be claimed."""
        if self._suspect == job_id:
            self._suspect = None


async def pause_after_error() -> None:
    """Wait a little before trying again what the store or the spine refused."""
    await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
