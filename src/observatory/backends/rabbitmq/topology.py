"""What there is on the broker: one exchange, one stream, the work queues, two places aside.

Everything is durable and declared again on every connection, so that whatever was deleted is back.
"""

from typing import Any, Final

import structlog
from aiormq.exceptions import ChannelPreconditionFailed

from observatory.backends.rabbitmq.link import Session
from observatory.core.errors import ConfigurationError
from observatory.core.job_type import PRIORITIES

_log = structlog.get_logger(__name__)

EXCHANGE: Final = "observatory"
"""Every batch of events passes here; anyone may bind a queue of their own to it."""

EVENTS_KEY: Final = "events"

STREAM: Final = "observatory.events"
"""The event log."""

DEAD: Final = "observatory.dead"
"""Work messages that cannot be read, with the reason in a header."""

PARKED: Final = "observatory.parked"
"""Work messages that wait for a processor that starts anew."""

_SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""A stream is trimmed by whole segments."""

_DELIVERY_LIMIT: Final = 2**31 - 1
"""Deliveries before a message is put aside. Taking a message says nothing about it, and brokers
differ in what they count; so none is ever put aside for that. Without the argument RabbitMQ 4
drops a message after twenty."""

_QUORUM: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": _DELIVERY_LIMIT,
}
_WORK: Final[dict[str, Any]] = {
    **_QUORUM,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def work_queue(queue: str, priority: str) -> str:
    """The name of the queue that carries the work of one queue and priority."""
    return f"observatory.work.{queue}.{priority}"


def work_queues(queue: str) -> list[str]:
    """The queues of all priorities, the highest first."""
    return [work_queue(queue, priority) for priority in PRIORITIES]


async def declare_topology(session: Session, retention_s: int) -> None:
    """Make what every process needs.

    Raises:
        ConfigurationError: something of that name is there and is something else.
    """
    channel = await session.channel()
    try:
        await channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        for name in (DEAD, PARKED):
            await channel.queue_declare(name, durable=True, arguments=_QUORUM)
    except ChannelPreconditionFailed as error:
        raise _misfit(error) from error
    await channel.close()
    await _declare_stream(session, retention_s)


async def _declare_stream(session: Session, retention_s: int) -> None:
    arguments: dict[str, Any] = {
        "x-queue-type": "stream",
        "x-max-age": f"{retention_s}s",
        "x-stream-max-segment-size-bytes": _SEGMENT_BYTES,
    }
    channel = await session.channel()
    try:
        await channel.queue_declare(STREAM, durable=True, arguments=arguments)
    except ChannelPreconditionFailed as error:
        if not any(name in str(error) for name in ("x-max-age", "x-stream-max-segment")):
            raise _misfit(error) from error
        # A stream keeps what it was declared with; an operator changes it with a policy.
        _log.warning("rabbitmq.stream_differs", stream=STREAM, error=str(error))
        channel = await session.channel()
    await channel.queue_bind(STREAM, EXCHANGE, EVENTS_KEY)
    await channel.close()


async def count_dead(session: Session) -> int:
    """How many messages the dead-letter queue holds, as far as is known."""
    channel = await session.working_channel()
    declared = await channel.queue_declare(DEAD, durable=True, arguments=_QUORUM)
    return declared.message_count or 0


async def declare_work_queue(session: Session, name: str) -> int:
    """Make a work queue, and return how many messages are ready in it, as far as is known.

    Raises:
        ConfigurationError: a queue of that name is there and is another kind.
    """
    channel = await session.working_channel()
    try:
        declared = await channel.queue_declare(name, durable=True, arguments=_WORK)
    except ChannelPreconditionFailed as error:
        raise _misfit(error) from error
    return declared.message_count or 0


def _misfit(error: ChannelPreconditionFailed) -> ConfigurationError:
    return ConfigurationError(
        f"RabbitMQ holds something of this name that is something else: {error}; "
        "delete it there, or use a virtual host of its own"
    )
