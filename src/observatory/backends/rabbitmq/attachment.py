"""One consumer's channel: its subscriptions, what was delivered on it, and what is settled."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from observatory.backends.rabbitmq.link import DEADLINE_S, Session, close_channel, translated
from observatory.backends.rabbitmq.topology import declare_work_queue

_FLUSH_S: Final = 2.0


class Attachment:
    """Takes from work queues on a channel of its own, and settles there."""

    def __init__(
        self,
        session: Session,
        channel: AbstractChannel,
        arrived: Callable[["Attachment", str, DeliveredMessage], None],
    ) -> None:
        self.session = session
        self._channel = channel
        self._arrived = arrived
        self.prefetch: dict[str, int] = {}
        """By queue that is subscribed to, how many unsettled messages of it are let through."""
        self._subscriptions: dict[str, str] = {}
        self._unsettled: dict[int, bool] = {}  # delivery tag, in order: whether it is to be settled
        self._subscription_of: dict[int, str] = {}
        self._load: Counter[str] = Counter()  # what each subscription has unsettled
        self._flushing: asyncio.Task[None] | None = None
        self._closing = False
        self.delivered: dict[str, int] = {}
        """Messages delivered by each queue since it was subscribed to."""

    @classmethod
    async def open(
        cls,
        session: Session,
        arrived: Callable[["Attachment", str, DeliveredMessage], None],
    ) -> "Attachment":
        """Open the channel; nothing is subscribed to yet."""
        return cls(session, await session.lasting_channel(), arrived)

    async def subscribe(self, queues: Mapping[str, int]) -> set[str]:
        """Begin to take from these queues, in this order, each with its prefetch; those that
        should deliver at once."""
        expected: set[str] = set()
        with translated("consuming"):
            async with asyncio.timeout(DEADLINE_S):
                for queue in queues:
                    if await declare_work_queue(self.session, queue):
                        expected.add(queue)
                set_to = 0
                for queue, prefetch in queues.items():
                    if prefetch != set_to:
                        # Holds for each subscription made from then on, by itself; RabbitMQ 4.3
                        # refuses any other way.
                        await self._channel.basic_qos(prefetch_count=prefetch)
                        set_to = prefetch
                    self.prefetch[queue] = prefetch
                    self.delivered[queue] = 0
                    ok = await self._channel.basic_consume(queue, self._callback(queue))
                    assert ok.consumer_tag is not None
                    self._subscriptions[queue] = ok.consumer_tag
        return expected

    def _callback(self, queue: str) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        async def take(message: DeliveredMessage) -> None:
            tag = message.delivery_tag
            assert tag is not None
            self._unsettled[tag] = False
            subscription = message.consumer_tag or ""
            self._subscription_of[tag] = subscription
            self._load[subscription] += 1
            self.delivered[queue] += 1
            self._arrived(self, queue, message)

        return take

    async def unsubscribe(self, queues: list[str]) -> None:
        """Take no more of these; what was delivered is still to be settled."""
        with translated("consuming"):
            async with asyncio.timeout(DEADLINE_S):
                for queue in queues:
                    self.prefetch.pop(queue, None)
                    subscription = self._subscriptions.pop(queue, None)
                    if subscription is not None:
                        await self._channel.basic_cancel(subscription)

    def exhausted(self) -> list[str]:
        """Queues that deliver no more because so much of them is unsettled. Subscribing anew
        gives credit anew."""
        return [
            queue
            for queue, subscription in self._subscriptions.items()
            if self._load[subscription] >= self.prefetch[queue]
        ]

    def settle(self, tag: int) -> None:
        """Acknowledge soon."""
        if tag in self._unsettled and not self._closing:
            self._unsettled[tag] = True
            if self._flushing is None or self._flushing.done():
                self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        # What cannot be acknowledged any more is delivered again, which is harmless.
        with contextlib.suppress(Exception):
            while True:
                prefix, singles = self._settled()
                if not prefix and not singles:
                    return
                if prefix:
                    await self._channel.basic_ack(prefix, multiple=True, wait=False)
                for tag in singles:
                    await self._channel.basic_ack(tag, wait=False)

    def _settled(self) -> tuple[int, list[int]]:
        """What is to be settled: everything up to a tag, and single ones beyond."""
        prefix = 0
        for tag, settled in self._unsettled.items():
            if not settled:
                break
            prefix = tag
        tags = [tag for tag, settled in self._unsettled.items() if settled]
        for tag in tags:
            self._drop(tag)
        return prefix, [tag for tag in tags if tag > prefix]

    async def give_back(self, tags: list[int]) -> None:
        """Have these delivered again, to anyone."""
        with translated("consuming"):
            async with asyncio.timeout(DEADLINE_S):
                for tag in tags:
                    if tag in self._unsettled:
                        self._drop(tag)
                        await self._channel.basic_nack(tag, requeue=True, wait=False)

    def _drop(self, tag: int) -> None:
        del self._unsettled[tag]
        subscription = self._subscription_of.pop(tag)
        self._load[subscription] -= 1
        if not self._load[subscription]:
            del self._load[subscription]

    async def close(self) -> None:
        """Settle what is to be settled and close the channel: all else is delivered again."""
        self._closing = True  # What is settled on a closed channel would end the connection.
        if self._flushing is not None:
            await asyncio.wait([self._flushing], timeout=_FLUSH_S)
        if not self._channel.is_closed:
            self.session.release(self._channel)
        await close_channel(self._channel)
