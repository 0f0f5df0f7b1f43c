"""Taking work messages: the highest priority first, and no more than somebody asks for.

Some messages are kept at hand, so that taking does not wait for the broker. What nobody takes
for a moment is given back, for another processor may have a slot free: see decision 0010.
"""

import asyncio
import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import structlog
from aiormq.abc import DeliveredMessage

from observatory.backends.rabbitmq.attachment import Attachment
from observatory.backends.rabbitmq.link import Link, Session, translated
from observatory.backends.rabbitmq.messages import raw_out, work_in
from observatory.backends.rabbitmq.publisher import Publisher
from observatory.backends.rabbitmq.topology import DEAD, declare_work_queue, work_queues
from observatory.core.errors import ConfigurationError, ObservatoryError, SpineUnavailable
from observatory.core.job_type import PRIORITIES
from observatory.core.spine import MESSAGE_JOBS_MAX, Delivery, WorkMessage

_log = structlog.get_logger(__name__)

_PREFETCH_MAX: Final = 200
"""Messages at hand of each queue and priority at the most."""
_SIZE_WEIGHT: Final = 1 / 8
"""How much one message counts in what messages of its queue hold on average."""
_HELD_S: Final = 0.2
"""After the last asking, so long are messages kept at hand."""
_FIRST_S: Final = 0.25
"""So long a queue that holds messages is waited for, so that its priority is respected."""
_LOOK_INTERVAL_S: Final = 10.0
_STALE_S: Final = 60.0
"""Lower priorities at hand go back after so long: a broker does not let them be held for ever."""
_PAUSE_AFTER_ERROR_S: Final = 0.5

_tags: Final = itertools.count(1)


class _Held(msgspec.Struct, eq=False):
    """A message that was delivered and is not settled."""

    tag: int
    attachment: Attachment
    delivery_tag: int
    name: str
    message: WorkMessage
    since: float


class WorkQueueConsumer:
    """Takes from the queues of all priorities; one session after the other."""

    def __init__(
        self,
        link: Link[Session],
        publisher: Publisher,
        queues: Sequence[str],
        closed: Callable[["WorkQueueConsumer"], None],
    ) -> None:
        self._link = link
        self._publisher = publisher
        by_queue = [work_queues(queue) for queue in queues]
        # The highest priority of all queues first.
        self._names = [name for names in zip(*by_queue, strict=True) for name in names]
        self._priorities = {name: index for names in by_queue for index, name in enumerate(names)}
        self._on_close = closed
        self._at_hand: list[deque[_Held]] = [deque() for _ in PRIORITIES]
        self._held: dict[int, _Held] = {}
        self._changed = asyncio.Event()
        self._ready = False
        self._sizes = dict.fromkeys(self._names, float(MESSAGE_JOBS_MAX))
        self._wanted = 1
        self._takers = 0
        self._asked_at = 0.0
        self._asked = asyncio.Event()
        self._failure: ObservatoryError | None = None
        self._closed = False
        self._attachment: Attachment | None = None
        self._burials: set[asyncio.Task[None]] = set()
        self._clock = asyncio.get_running_loop().time
        self._task = asyncio.create_task(self._run(), name="rabbitmq consumer")

    # For the processor

    async def take(self, jobs: int, timeout_s: float) -> list[Delivery]:
        """See `WorkConsumer.take`."""
        self._wanted = max(jobs, self._wanted * 7 // 8)
        self._takers += 1
        self._asked.set()
        try:
            async with asyncio.timeout(timeout_s):
                while not (self._ready and any(self._at_hand)):
                    if self._closed:
                        return []
                    if self._failure is not None:
                        raise type(self._failure)(str(self._failure))
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return []
        finally:
            self._takers -= 1
            self._asked_at = self._clock()
        taken: list[Delivery] = []
        for at_hand in self._at_hand:
            while at_hand and jobs > 0:
                held = at_hand.popleft()
                taken.append(Delivery(held.tag, held.message))
                jobs -= len(held.message.jobs)
        return taken

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `WorkConsumer.acknowledge`."""
        for delivery in deliveries:
            # What came over a connection that is lost is not known any more: it comes again.
            held = self._held.pop(delivery.tag, None)
            if held is not None:
                held.attachment.settle(held.delivery_tag)

    async def close(self) -> None:
        """See `WorkConsumer.close`."""
        if self._closed:
            return
        self._closed = True
        self._changed.set()
        self._task.cancel()
        await asyncio.gather(self._task, *self._burials, return_exceptions=True)
        if self._attachment is not None:
            await self._attachment.close()
            self._forget()
        self._on_close(self)

    # For the inventory

    def jobs_held(self) -> Iterator[str]:
        """The jobs named by what was delivered here and is not acknowledged."""
        for held in self._held.values():
            for reference in held.message.jobs:
                yield reference.id

    # The session

    async def _run(self) -> None:
        while True:
            try:
                session = await self._link.state()
                self._attachment = await Attachment.open(session, self._arrived)
                self._failure = None  # Before anyone asks: who asks is told of a failure at once.
                await self._serve(session, self._attachment)
            except ObservatoryError as error:
                self._failure = error
                if isinstance(error, ConfigurationError):
                    _log.error("rabbitmq.misfit", error=str(error))
            except Exception as error:
                # Whatever it was: a consumer that ended would look alive and take nothing.
                _log.exception("rabbitmq.consumer_failed")
                self._failure = SpineUnavailable(f"consuming: {error!r}")
            if self._attachment is not None:
                self._attachment.session.lose("a consumer is to be made anew")
            self._forget()
            await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    def _forget(self) -> None:
        self._attachment = None
        self._ready = False
        self._held.clear()
        for at_hand in self._at_hand:
            at_hand.clear()
        self._changed.set()

    async def _serve(self, session: Session, attachment: Attachment) -> None:
        """Subscribe while somebody asks, until the session is lost."""
        while not session.lost.is_set():
            if self._takers == 0:
                await self._until_asked(session)
                continue
            expected = await attachment.subscribe(self._fitting(self._names))
            await self._wait_for_first(attachment, expected)
            self._ready = True
            self._changed.set()
            await self._watch(attachment)
            if not session.lost.is_set():
                await self._give_back(attachment)

    async def _until_asked(self, session: Session) -> None:
        self._asked.clear()
        either = [asyncio.ensure_future(e.wait()) for e in (session.lost, self._asked)]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in either:
                waiting.cancel()

    async def _wait_for_first(self, attachment: Attachment, expected: set[str]) -> None:
        until = self._clock() + _FIRST_S
        while any(not attachment.delivered[name] for name in expected):
            if self._clock() > until:
                return
            await asyncio.sleep(0.002)

    async def _watch(self, attachment: Attachment) -> None:
        """Until nobody has asked for a while or the session is lost."""
        lost = attachment.session.lost
        look_at = self._clock() + _LOOK_INTERVAL_S
        seen = dict(attachment.delivered)
        suspected: set[str] = set()
        while not lost.is_set():
            now = self._clock()
            idle_s = 0.0 if self._takers else now - self._asked_at
            if idle_s > _HELD_S:
                return
            if now >= look_at:
                silent = {n for n in seen if seen[n] == attachment.delivered[n]}
                suspected = await self._look(attachment, silent, suspected)
                seen = dict(attachment.delivered)
                look_at = now + _LOOK_INTERVAL_S
            await self._renew(attachment)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HELD_S / 4):
                    await lost.wait()

    async def _renew(self, attachment: Attachment) -> None:
        """Subscribe anew where what may be at hand does not fit: what is taken and not settled for
        long, as suspects are, keeps others back; or messages hold other numbers of jobs."""
        fitting = self._fitting(self._names)
        spent = [
            name
            for name in attachment.exhausted()
            if not any(held.name == name for held in self._at_hand[self._priorities[name]])
        ]
        misfits = [
            name
            for name, prefetch in attachment.prefetch.items()
            if not prefetch / 2 <= fitting[name] <= prefetch * 2
        ]
        if names := {*spent, *misfits}:
            await attachment.unsubscribe(sorted(names))
            await attachment.subscribe({n: f for n, f in fitting.items() if n in names})

    def _fitting(self, names: Sequence[str]) -> dict[str, int]:
        """How many messages of each queue to have at hand: about two claims' worth of jobs."""
        return {
            name: min(max(2, math.ceil(2 * self._wanted / self._sizes[name])), _PREFETCH_MAX)
            for name in names
        }

    async def _look(
        self, attachment: Attachment, silent: set[str], suspected: set[str]
    ) -> set[str]:
        """Queues that hold messages and deliver none, though there is credit. Twice in a row, and
        the consumer is stuck."""
        await self._give_back_stale(attachment)
        holding: set[str] = set()
        for name in silent:
            if any(held.name == name for held in self._at_hand[self._priorities[name]]):
                continue
            with translated("looking at a queue"):
                if await declare_work_queue(attachment.session, name):
                    holding.add(name)
        if holding & suspected:
            attachment.session.lose(f"{sorted(holding & suspected)} deliver nothing")
        return holding

    async def _give_back(self, attachment: Attachment) -> None:
        self._ready = False
        await attachment.unsubscribe(self._names)
        rest = sorted(held.delivery_tag for at_hand in self._at_hand for held in at_hand)
        for at_hand in self._at_hand:
            for held in at_hand:
                self._held.pop(held.tag, None)
            at_hand.clear()
        await attachment.give_back(rest)

    async def _give_back_stale(self, attachment: Attachment) -> None:
        before = self._clock() - _STALE_S
        for at_hand in self._at_hand:
            stale = [held for held in at_hand if held.since < before]
            for held in stale:
                at_hand.remove(held)
                self._held.pop(held.tag, None)
            await attachment.give_back([held.delivery_tag for held in stale])

    # Deliveries

    def _arrived(self, attachment: Attachment, name: str, message: DeliveredMessage) -> None:
        delivery_tag = message.delivery_tag
        assert delivery_tag is not None
        try:
            work = work_in(message.body)
        except msgspec.MsgspecError as error:
            burial = asyncio.create_task(
                self._bury(attachment, delivery_tag, name, message.body, str(error))
            )
            self._burials.add(burial)
            burial.add_done_callback(self._burials.discard)
            return
        if attachment is not self._attachment:
            return  # The channel is closed; it comes again on another.
        self._sizes[name] += (len(work.jobs) - self._sizes[name]) * _SIZE_WEIGHT
        held = _Held(next(_tags), attachment, delivery_tag, name, work, self._clock())
        self._held[held.tag] = held
        self._at_hand[self._priorities[name]].append(held)
        self._changed.set()

    async def _bury(
        self, attachment: Attachment, tag: int, name: str, body: bytes, reason: str
    ) -> None:
        """Put aside what cannot be read, and only then settle it."""
        _log.error("rabbitmq.unreadable", queue=name, reason=reason, size=len(body))
        grave = raw_out(DEAD, body, reason=reason, queue=name)
        while not self._closed and not attachment.session.lost.is_set():
            try:
                await self._publisher.send([grave])
            except ObservatoryError:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            else:
                attachment.settle(tag)
                return
