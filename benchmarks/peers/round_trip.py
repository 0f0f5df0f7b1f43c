"""A bare message through RabbitMQ: published with a confirm, a quorum queue, one consumer."""

import asyncio
import struct
import time
from typing import Any

import aiormq
from pamqp.commands import Basic

_QUEUE = "bare"
_WARM_UP = 200
_NUMBER = struct.Struct("<q")


async def waits(url: str, rate: float, messages: int) -> list[float]:
    """Seconds from when each message was due to be published until it was received."""
    received: list[float] = []
    complete = asyncio.Event()
    publisher, consumer = await aiormq.connect(url), await aiormq.connect(url)
    try:
        sending = await publisher.channel(publisher_confirms=True)
        arguments: Any = {"x-queue-type": "quorum"}
        await sending.queue_declare(_QUEUE, durable=True, arguments=arguments)
        taking = await consumer.channel()

        async def take(message: aiormq.abc.DeliveredMessage) -> None:
            (number,) = _NUMBER.unpack(message.body)
            if number >= 0:
                received.append(time.perf_counter() - started - number / rate)
            assert message.delivery_tag is not None
            await taking.basic_ack(message.delivery_tag)
            if len(received) == messages:
                complete.set()

        async def send(number: int) -> None:
            await asyncio.sleep(started + number / rate - time.perf_counter())
            properties = Basic.Properties(delivery_mode=2)
            body = _NUMBER.pack(number)
            await sending.basic_publish(body, routing_key=_QUEUE, properties=properties)

        await taking.basic_consume(_QUEUE, take)
        started = time.perf_counter() + _WARM_UP / rate
        await asyncio.gather(*(send(number) for number in range(-_WARM_UP, messages)))
        async with asyncio.timeout(30):
            await complete.wait()
    finally:
        await publisher.close()
        await consumer.close()
    return received
