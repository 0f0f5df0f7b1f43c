"""Reading a stretch of the log: a consumer of the stream from some offset on."""

import asyncio
import contextlib
from collections import deque
from typing import Any

from aiormq.abc import AbstractChannel, DeliveredMessage

from observatory.backends.rabbitmq.link import DEADLINE_S, Session, close_channel, translated
from observatory.backends.rabbitmq.messages import Incoming, log_in
from observatory.backends.rabbitmq.topology import STREAM


class StreamReader:
    """Gives the messages from an offset on, in order. Attached beyond the end it gives nothing."""

    def __init__(self, session: Session | None, channel: AbstractChannel, prefetch: int) -> None:
        """`session`: which would be lost with the channel."""
        self._session = session
        self._channel = channel
        self._prefetch = prefetch
        self._waiting: deque[Incoming] = deque()
        self._arrived = asyncio.Event()
        self._unacknowledged = 0
        self._closing = False

    @classmethod
    async def open(
        cls, session: Session, offset: int | str, prefetch: int, *, lasting: bool = False
    ) -> "StreamReader":
        """Attach at an offset, or at "first" or "last", the newest chunk.

        lasting: when the reader is lost, so is the session.
        """
        channel = await (session.lasting_channel() if lasting else session.channel())
        reader = cls(session if lasting else None, channel, prefetch)
        arguments: dict[str, Any] = {"x-stream-offset": offset}
        with translated("reading the log"):
            async with asyncio.timeout(DEADLINE_S):
                await channel.basic_qos(prefetch_count=prefetch)
                await channel.basic_consume(STREAM, reader._take, arguments=arguments)
        return reader

    async def _take(self, message: DeliveredMessage) -> None:
        self._waiting.append(log_in(message))
        self._arrived.set()
        # Acknowledging a stream gives credit and nothing else. Refusing would end the connection.
        self._unacknowledged += 1
        tag = message.delivery_tag
        if tag is None or self._closing or self._prefetch == 1:
            return  # On a channel that is being closed, it would end the connection.
        if 2 * self._unacknowledged >= self._prefetch:
            self._unacknowledged = 0
            with contextlib.suppress(Exception):
                await self._channel.basic_ack(tag, multiple=True, wait=False)

    async def next(self, timeout_s: float) -> Incoming | None:
        """The next message; None after the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self._waiting.popleft() if self._waiting else None

    def at_hand(self) -> list[Incoming]:
        """What has arrived and was not given out."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    async def close(self) -> None:
        """Detach; the session goes on."""
        self._closing = True
        if self._session is not None and not self._channel.is_closed:
            self._session.release(self._channel)
        await close_channel(self._channel)
