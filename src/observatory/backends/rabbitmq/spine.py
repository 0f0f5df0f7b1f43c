"""The spine on RabbitMQ, for any number of processes."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import structlog
from pamqp.commands import Basic

from observatory.backends.rabbitmq.consumer import WorkQueueConsumer
from observatory.backends.rabbitmq.inventory import Inventory
from observatory.backends.rabbitmq.link import DEADLINE_S, Link, Session, translated
from observatory.backends.rabbitmq.log import EventLog
from observatory.backends.rabbitmq.messages import raw_out, work_in, work_out
from observatory.backends.rabbitmq.publisher import Publisher
from observatory.backends.rabbitmq.topology import (
    DEAD,
    PARKED,
    count_dead,
    declare_topology,
    work_queue,
)
from observatory.core.errors import SpineUnavailable
from observatory.core.job import Transition
from observatory.core.spine import (
    LOG_READ_BYTES_MAX,
    LogEntry,
    LogMessage,
    LogRange,
    WorkMessage,
)

_log = structlog.get_logger(__name__)

_FIRST_ATTEMPT_S: Final = 2.0
_PAUSE_AFTER_ERROR_S: Final = 1.0
_DAY_S: Final = 86_400


def _wall_clock() -> int:
    return time.time_ns() // 1000


class RabbitmqSpine:
    """Work queues and event log on a broker, over two connections: one gives, one takes."""

    shared = True
    publishes_at_once = False

    def __init__(
        self,
        url: str,
        *,
        retention_s: int = 7 * _DAY_S,
        now: Callable[[], int] = _wall_clock,
    ) -> None:
        """`url` is `amqp://` or `amqps://`.

        Args:
            url: the broker and the virtual host.
            retention_s: after how long the broker drops log messages; for a log made anew.
            now: the clock that log messages are stamped with, in microseconds since the epoch.
        """
        self._retention_s = retention_s
        self._publisher = Publisher(url, retention_s, now)
        self._link: Link[Session] = Link(url, "consumer", self._setup)
        self._log = EventLog(self._link, self._publisher)
        self._inventory = Inventory(self._jobs_held)
        self._consumers: set[WorkQueueConsumer] = set()
        self._unparking: asyncio.Task[None] | None = None

    async def _setup(self, session: Session) -> Session:
        await declare_topology(session, self._retention_s)
        return session

    async def open(self) -> None:
        """See `Spine.open`.

        Raises:
            ConfigurationError: the broker is there and holds something that does not fit.
        """
        self._publisher.start()
        try:
            async with asyncio.timeout(_FIRST_ATTEMPT_S):
                await self._publisher.ready()
        except (SpineUnavailable, TimeoutError):
            pass
        finally:
            # One after the other: RabbitMQ 3.10 fails who uses a stream another just declares.
            self._link.start()
        self._unparking = asyncio.create_task(self._unpark(), name="rabbitmq unpark")

    async def publish(self, entries: Sequence[LogEntry], work: Sequence[WorkMessage]) -> None:
        """See `Spine.publish`."""
        if entries:
            await self._publisher.log(entries)
        if work:
            await self._publisher.send([work_out(work_queue(m.queue, m.priority), m) for m in work])

    def consume(self, queues: Sequence[str]) -> WorkQueueConsumer:
        """See `Spine.consume`."""
        consumer = WorkQueueConsumer(self._link, self._publisher, queues, self._consumers.discard)
        self._consumers.add(consumer)
        return consumer

    async def park(self, message: WorkMessage, reason: str) -> None:
        """See `Spine.park`."""
        await self._publisher.send([work_out(PARKED, message, reason=reason)])

    async def missing(self, queued: Sequence[Transition]) -> list[Transition]:
        """See `Spine.missing`."""
        if not queued:
            return []
        return await self._inventory.missing(await self._link.state(), queued)

    def _jobs_held(self) -> Iterator[str]:
        for consumer in self._consumers:
            yield from consumer.jobs_held()

    async def dead_letters(self) -> int:
        """See `Spine.dead_letters`."""
        session = await self._link.state()
        with translated("counting the dead letters"):
            async with asyncio.timeout(DEADLINE_S):
                return await count_dead(session)

    async def read_log(
        self, after: int, limit: int, bytes_max: int = LOG_READ_BYTES_MAX
    ) -> list[LogMessage]:
        """See `Spine.read_log`."""
        return await self._log.read(after, limit, bytes_max)

    async def wait_log(self, after: int, timeout_s: float) -> bool:
        """See `Spine.wait_log`."""
        return await self._log.wait(after, timeout_s)

    async def log_range(self) -> LogRange:
        """See `Spine.log_range`."""
        return await self._log.range()

    async def check(self) -> None:
        """See `Spine.check`."""
        await self._publisher.ready()
        # Not on the connection that gives: a broker in alarm does not answer there, and is there.
        await (await self._link.state()).answers()

    async def trim_log(self, keep_after: int) -> int:
        """See `Spine.trim_log`."""
        return await self._log.trim(keep_after)

    async def close(self) -> None:
        """See `Spine.close`."""
        self._link.retire()
        if self._unparking is not None:
            self._unparking.cancel()
            await asyncio.gather(self._unparking, return_exceptions=True)
        for consumer in list(self._consumers):
            await consumer.close()
        await self._log.close()
        await self._link.close()
        await self._publisher.close()

    async def _unpark(self) -> None:
        """Send what is parked back to its work queue, once there is a broker."""
        while True:
            try:
                session = await self._link.state()
                await self._unpark_all(session)
            except SpineUnavailable as error:
                _log.warning("rabbitmq.not_unparked", error=str(error))
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            except Exception:
                _log.exception("rabbitmq.not_unparked")
                return
            else:
                return

    async def _unpark_all(self, session: Session) -> None:
        # No more than there were: a processor that parks them again would keep this going.
        left = 1
        channel = await session.channel()
        with translated("bringing back what is parked"):
            while left:
                async with asyncio.timeout(DEADLINE_S):
                    got = await channel.basic_get(PARKED)
                if not isinstance(got.delivery, Basic.GetOk) or got.delivery_tag is None:
                    break
                left = left - 1 if left > 1 else got.message_count or 0
                try:
                    message = work_in(got.body)
                except msgspec.MsgspecError as error:
                    out = raw_out(DEAD, got.body, reason=str(error), queue=PARKED)
                else:
                    out = work_out(work_queue(message.queue, message.priority), message)
                await self._publisher.send([out])
                await channel.basic_ack(got.delivery_tag, wait=False)
            await channel.close()
