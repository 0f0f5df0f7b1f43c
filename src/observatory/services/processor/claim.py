"""Claiming: from work messages to jobs that this worker owns.

A message is acknowledged once its jobs are claimed. What the claim does not return is a repeat,
stale or cancelled, and is dropped: progress never depends on redelivery.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from observatory.core.errors import ObservatoryError
from observatory.core.job import ClaimedJob, Reference
from observatory.core.job_type import Handler
from observatory.core.spine import Delivery, Spine, WorkConsumer, WorkMessage
from observatory.core.store import StoreWrites
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.failpoints import reach

_log = structlog.get_logger(__name__)

_TAKE_TIMEOUT_S: Final = 5.0
_SUSPECTS_PAUSE_S: Final = 0.05
HAND_ON_AFTER_S: Final = 0.03
"""How long jobs at hand wait for a slot here before they are handed on to whoever has one."""
_SUSPECTS_HELD_S: Final = 1.0
"""The same for suspects, of which one runs here at a time. They are handed round for as long as
nobody has room for them, so not too fast."""


class _Suspect(NamedTuple):
    delivery: Delivery
    reference: Reference
    since: float


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
        self._suspects: deque[_Suspect] = deque()
        self._unsorted: deque[Delivery] = deque()
        self._unsettled: list[Delivery] = []
        self._taken_at = 0.0
        self._consumer: WorkConsumer | None = None
        self._queues: tuple[str, ...] = ()
        self._consumed: tuple[str, ...] | None = None
        """Which queues the consumer takes from; None where it was closed."""
        self._closed = False
        self._suspect: str | None = None
        self.claimed_within: tuple[float, float] | None = None
        """When the store was last asked to claim and when it had, by the event loop's clock;
        None since the last call where it was not."""
        self._doubtful: list[Reference] = []
        self._given: list[ClaimedJob] = []

    def open(self, queues: Sequence[str]) -> None:
        """Start to consume."""
        self._queues = tuple(queues)
        self._consume()

    async def limit_to(self, queues: Sequence[str]) -> None:
        """Consume these queues from now on."""
        if self._consumer is None or self._closed or self._queues == tuple(queues):
            return
        self._queues = tuple(queues)
        self._consumed = None
        # Wakes the claim that waits in it; the next claim opens another.
        await self._consumer.close()

    def _consume(self) -> None:
        # What was at hand is delivered again if its queue is still among them, else to whoever
        # takes it up later.
        for held in (self._at_hand, self._suspects, self._unsorted):
            held.clear()
        self._unsettled = []
        self._consumed = self._queues
        self._consumer = self._spine.consume(self._queues)

    async def close(self) -> None:
        """Stop consuming; what was not claimed is delivered again."""
        self._closed = True
        if self._consumer is not None:
            # It is kept: what the claim under way takes over is still to be acknowledged.
            await self._consumer.close()

    async def claim(self, free: int, idle: int) -> list[ClaimedJob]:
        """Up to `free` jobs that this worker owns from now on; empty when there are none now.

        idle: slots that are free now. A suspect is claimed for one of them only: if it waited, the
            crash of another run would be its last.
        """
        self.claimed_within = None
        if self._consumed != self._queues and not self._closed:
            self._consume()
        if self._doubtful and (found := await self._reclaim()):
            return found
        if idle and (suspect := await self._claim_suspect()):
            return suspect
        await self._hand_on_suspects()
        if not self._at_hand:
            await self._take(free)
        if self._consumed is None:
            return []  # it may take from these queues no more; what was taken is delivered again
        references = [self._at_hand.popleft() for _ in range(min(free, len(self._at_hand)))]
        if not references:
            return []
        reach("processor.before_claim")
        try:
            jobs = await self._own(references)
        except BaseException:
            self._at_hand.extendleft(reversed(references))
            raise
        if len(jobs) < len(references):
            _log.info("claim.dropped", count=len(references) - len(jobs))
        if not self._at_hand:
            self._settle()
        elif time.monotonic() - self._taken_at > HAND_ON_AFTER_S:
            await self.hand_on()
        return jobs

    async def _own(self, references: list[Reference]) -> list[ClaimedJob]:
        """Claim these. Until the answer is there it is not known what has become of them."""
        self._doubtful = references
        clock = asyncio.get_running_loop().time
        began = clock()
        jobs, commit = await self._store.claim(references, self._worker)
        self.claimed_within = (began, clock())
        reach("processor.after_claim")
        self._dispatcher.put(commit)
        self._doubtful, self._given = [], jobs
        return jobs

    async def _reclaim(self) -> list[ClaimedJob]:
        """What a claim took whose answer was lost: nobody else would ever run it, since this
        worker lives and has it on record. The references themselves are at hand again."""
        jobs = await self._store.reclaim(self._doubtful, self._worker)
        suspects = {reference.id for reference in self._doubtful if reference.suspect}
        self._suspect = next((job.id for job in jobs if job.id in suspects), self._suspect)
        self._doubtful, self._given = [], jobs
        if jobs:
            _log.warning("claim.found", count=len(jobs))
        return jobs

    @property
    def in_doubt(self) -> set[tuple[str, int]]:
        """(job, attempt) of runs that are on record perhaps, and of those just given out."""
        given = {(job.id, job.attempt) for job in self._given}
        return given | {(r.id, r.attempt + 1) for r in self._doubtful}

    async def _take(self, free: int) -> None:
        if self._consumer is None:
            return
        if not self._unsorted:
            timeout_s = _SUSPECTS_PAUSE_S if self._suspects else _TAKE_TIMEOUT_S
            taken = await self._consumer.take(free, timeout_s)
            self._unsorted.extend(taken)
            self._taken_at = time.monotonic()
        while self._unsorted:
            # Taken off only once it is sorted: the spine may refuse to park a part of it.
            await self._sort(self._unsorted[0])
            self._unsorted.popleft()
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
            self._suspects.append(_Suspect(delivery, known[0], time.monotonic()))
            return
        self._at_hand.extend(known)
        self._unsettled.append(delivery)

    def _can_run(self, reference: Reference) -> bool:
        handler = self._handlers.get(reference.type)
        return handler is not None and handler.job_type.version == reference.contract_version

    @property
    def holds_others_work(self) -> bool:
        """Jobs are at hand that another processor may have a slot for."""
        return self._spine.shared and bool(self._at_hand or self._suspects)

    async def hand_on(self) -> None:
        """Give back to the work queues what is at hand; it is kept where the spine refuses."""
        await self._hand_on_suspects()
        if not self._spine.shared or not self._at_hand:
            return
        groups: dict[tuple[str, str], list[Reference]] = {}
        owners = {r.id: d.message for d in self._unsettled for r in d.message.jobs}
        for reference in self._at_hand:
            message = owners[reference.id]
            groups.setdefault((message.queue, message.priority), []).append(reference)
        if await self._publish([WorkMessage(*key, tuple(rest)) for key, rest in groups.items()]):
            self._at_hand.clear()
            self._settle()

    async def _hand_on_suspects(self) -> None:
        now = time.monotonic()
        late = [one for one in self._suspects if now - one.since > _SUSPECTS_HELD_S]
        if not late or not self._spine.shared or self._consumer is None:
            return
        origins = [one.delivery.message for one in late]
        messages = [
            WorkMessage(origin.queue, origin.priority, (one.reference,))
            for origin, one in zip(origins, late, strict=True)
        ]
        kept = [one for one in self._suspects if one not in late]
        if await self._publish(messages):
            self._consumer.acknowledge([one.delivery for one in late])
        else:
            kept += [one._replace(since=now) for one in late]
        self._suspects = deque(kept)

    async def _publish(self, messages: list[WorkMessage]) -> bool:
        try:
            await self._spine.publish([], messages)
        except ObservatoryError as error:
            _log.warning("claim.not_handed_on", error=str(error))
            return False
        return True

    def _settle(self) -> None:
        if self._unsettled and self._consumer is not None:
            self._consumer.acknowledge(self._unsettled)
        self._unsettled = []

    async def _claim_suspect(self) -> list[ClaimedJob]:
        # One suspect at a time: when it kills the worker, no other suspect is counted out with it.
        if self._suspect is not None or not self._suspects:
            return []
        delivery, reference, _ = self._suspects[0]
        jobs = await self._own([reference])
        self._suspects.popleft()
        if self._consumer is not None:
            self._consumer.acknowledge([delivery])
        self._suspect = next((job.id for job in jobs), None)
        return jobs

    def ended(self, job_id: str) -> None:
        """A run is over; if it was the suspect's, the next suspect may be claimed."""
        if self._suspect == job_id:
            self._suspect = None
