"""What a RabbitMQ broker is like, for whoever sets the system up."""

import asyncio
from typing import Any, Final, NamedTuple

from aiormq import Connection
from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from observatory.backends.rabbitmq.link import DEADLINE_S, Session, connected, translated
from observatory.backends.rabbitmq.topology import DEAD, EXCHANGE, STREAM

_NEEDED: Final = ("publisher_confirms", "basic.nack", "consumer_cancel_notify")
"""Extensions of AMQP 0-9-1 without which a message may be lost and nobody be told."""


class Broker(NamedTuple):
    """A broker, as a client sees it."""

    product: str
    version: str
    lacks: tuple[str, ...]
    """Extensions of the protocol that this system needs and that the broker does not have."""
    missing: tuple[str, ...]
    """What this system makes there at its first start, and that is not there."""
    dead: int
    """Work messages that nobody can read."""


async def inspect(url: str) -> Broker:
    """Look at a broker, and change nothing.

    Raises:
        SpineUnavailable: it does not answer, or does not let us in.
    """
    connection = Connection(URL(url).update_query(name="observatory doctor"))
    async with connected(connection):
        told: dict[str, Any] = dict(connection.server_properties or {})
        able: dict[str, Any] = told.get("capabilities") or {}
        session = Session(connection)
        missing: list[str] = []
        if not await _is_there(session, EXCHANGE, exchange=True):
            missing.append(EXCHANGE)
        dead = 0
        for name in (STREAM, DEAD):
            found = await _is_there(session, name)
            if found is False:
                missing.append(name)
            elif name == DEAD:
                dead = found
    return Broker(
        product=str(told.get("product", "a broker")),
        version=str(told.get("version", "?")),
        lacks=tuple(name for name in _NEEDED if not able.get(name)),
        missing=tuple(missing),
        dead=dead,
    )


async def _is_there(session: Session, name: str, *, exchange: bool = False) -> int | bool:
    """False, or how many messages wait; of an exchange, true."""
    # A question for what is not there closes the channel it was asked on.
    channel = await session.channel()
    with translated(f"looking for {name}"):
        try:
            async with asyncio.timeout(DEADLINE_S):
                if exchange:
                    await channel.exchange_declare(name, passive=True)
                    return True
                declared = await channel.queue_declare(name, passive=True)
        except ChannelNotFoundEntity:
            return False
    return declared.message_count or 0
