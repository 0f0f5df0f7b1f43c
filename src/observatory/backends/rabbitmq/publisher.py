"""Publishing: pipelined, confirmed, and never waiting for ever."""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog
from aiormq import Channel
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from observatory.backends.rabbitmq.link import DEADLINE_S, Link, Session, translated
from observatory.backends.rabbitmq.messages import Outgoing, entry_out, mark_out
from observatory.backends.rabbitmq.stream import StreamReader
from observatory.backends.rabbitmq.topology import (
    EVENTS_KEY,
    EXCHANGE,
    STREAM,
    declare_topology,
    declare_work_queue,
)
from observatory.core.errors import SpineUnavailable
from observatory.core.spine import LogEntry

_log = structlog.get_logger(__name__)

_EMPTY_AFTER_S: Final = 0.3
"""A stream that gives nothing for so long is taken to be empty."""

_IN_FLIGHT_MAX: Final = 500
"""Messages sent together before their confirms are waited for."""

_REFUSED_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4)
"""Before work that was refused is sent again. A quorum queue refuses until it has a leader, which
one that another process is just declaring has not yet."""


class _Publishing:
    """What publishing needs of one session."""

    def __init__(self, session: Session, channel: AbstractChannel, epoch: str) -> None:
        self.session = session
        self.channel = channel
        self.epoch = epoch
        self.declared: set[str] = set()


class Publisher:
    """Sends messages on a connection of its own, so that a broker that takes none still gives."""

    def __init__(self, url: str, retention_s: int, now: Callable[[], int]) -> None:
        self._retention_s = retention_s
        self._now = now
        self._link = Link(url, "publisher", self._setup)
        self._ids = (f"{uuid.uuid4().hex}-{n}" for n in itertools.count())
        self.epoch: str = ""
        """Of the log, as last known; empty before the first session."""
        self.floor: int = 0
        """Log positions up to here are trimmed; every log message says so."""
        self._sending: set[str] = set()
        self.unseen: set[str] = set()
        """Log messages that are confirmed and that the tail of this process has not read yet."""
        self._watched = False

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()

    async def ready(self) -> None:
        """Wait until messages can be sent. Raises SpineUnavailable or ConfigurationError."""
        await self._link.state()

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    async def _setup(self, session: Session) -> _Publishing:
        await declare_topology(session, self._retention_s)
        channel = await session.lasting_channel(confirms=True)
        # Attached for as long as the session: when the stream is deleted, it is cancelled.
        watch = await StreamReader.open(session, "first", prefetch=1, lasting=True)
        first = await watch.next(_EMPTY_AFTER_S)
        if first is None:
            # Several processes may write a first mark; the first one of the log counts.
            mark = mark_out(STREAM, next(self._ids), None)
            async with asyncio.timeout(DEADLINE_S):
                await _send(channel, mark)
                first = await watch.next(DEADLINE_S)
        if first is None:
            raise SpineUnavailable("the log does not give back what was written into it")
        epoch = first.epoch or first.mark or ""
        if epoch != self.epoch:
            self.epoch, self.floor = epoch, 0
        return _Publishing(session, channel, epoch)

    async def log(self, entries: Sequence[LogEntry]) -> None:
        """Append entries to the log, in their order. Raises SpineUnavailable."""
        now = self._now()

        def outgoing(state: _Publishing) -> list[Outgoing]:
            return [
                entry_out(
                    EXCHANGE, EVENTS_KEY, entry, next(self._ids), now, state.epoch, self.floor
                )
                for entry in entries
            ]

        ids: set[str] = set()

        def remembered(state: _Publishing) -> list[Outgoing]:
            messages = outgoing(state)
            # The last of them will do. It may come back before it is confirmed.
            if self._watched and (last := messages[-1].properties.message_id) is not None:
                ids.add(last)
                self._sending.add(last)
            return messages

        try:
            await self._publish(remembered)
            self.unseen |= ids & self._sending
        finally:
            self._sending -= ids

    def begin_to_watch(self) -> None:
        """A tail is about to mark the log: what is confirmed before lies before the mark."""
        self._watched = True
        self.unseen.clear()

    def end_watching(self) -> None:
        """No tail reads any more what is published."""
        self._watched = False
        self._sending.clear()
        self.unseen.clear()

    def saw(self, id: str) -> None:
        """The tail has read this message."""
        self._sending.discard(id)
        self.unseen.discard(id)

    def learn_floor(self, epoch: str | None, floor: int) -> None:
        """A message of the log tells how far it is trimmed."""
        if epoch == self.epoch:
            self.floor = max(self.floor, floor)

    async def mark(self) -> tuple[str, str]:
        """Write a mark into the log; its id, and the epoch of the log. Raises SpineUnavailable."""
        id = next(self._ids)
        (sent,) = await self._publish(lambda state: [mark_out(STREAM, id, state.epoch, self.floor)])
        headers = sent.properties.headers or {}
        return id, str(headers["epoch"])

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages to queues, in their order. Raises SpineUnavailable."""
        await self._publish(lambda _: list(messages))

    async def _publish(self, outgoing: Callable[[_Publishing], list[Outgoing]]) -> list[Outgoing]:
        """Publish, and once more what found no queue, after that was declared."""
        state = await self._link.state()
        messages = outgoing(state)
        returned = await self._send_all(state, messages)
        if not returned:
            return messages
        names = sorted({message.routing_key for message in returned})
        _log.warning("rabbitmq.returned", queues=names, count=len(returned))
        if all(_is_for_a_queue(message) for message in returned):
            state.declared.difference_update(names)
            missing = await self._send_all(state, returned)
        else:
            # The log itself is gone. What was sent is of the old epoch.
            state.session.lose("the log is gone")
            state = await self._link.state()
            messages = outgoing(state)
            missing = await self._send_all(state, messages)
        if missing:
            raise SpineUnavailable(f"no queue takes what is for {missing[0].routing_key}")
        return messages

    async def _send_all(self, state: _Publishing, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Send in order and wait for the confirms; what was returned, unroutable.

        Raises:
            SpineUnavailable: refused, or nothing heard: it is not known what was taken.
        """
        returned: list[Outgoing] = []
        with translated("publishing"):
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await state.session.unblocked()
                    await self._declare(state, messages)
                    for start in range(0, len(messages), _IN_FLIGHT_MAX):
                        part = messages[start : start + _IN_FLIGHT_MAX]
                        returned += await _send_part(state.channel, part)
            except TimeoutError:
                if not await _is_blocked(state.session):
                    state.session.lose("publishing was not confirmed in time")
                raise
        return returned

    async def _declare(self, state: _Publishing, messages: Sequence[Outgoing]) -> None:
        names = {m.routing_key for m in messages if m.routing_key.startswith("observatory.work.")}
        for name in sorted(names - state.declared):
            await declare_work_queue(state.session, name)
            state.declared.add(name)


async def _send_part(channel: AbstractChannel, part: Sequence[Outgoing]) -> list[Outgoing]:
    """Send together, and work that is refused once more; what was returned, unroutable.

    Raises:
        SpineUnavailable: refused.
    """
    returned: list[Outgoing] = []
    pauses = iter(_REFUSED_PAUSES_S)
    while part:
        outcomes = await _outcomes(channel, part)
        refused: list[Outgoing] = []
        for message, outcome in zip(part, outcomes, strict=True):
            if isinstance(outcome, PublishError):
                returned.append(message)
            elif isinstance(outcome, DeliveryError):
                refused.append(message)
            elif isinstance(outcome, BaseException):
                raise outcome
        if refused:
            pause_s = next(pauses, None)
            # The log has an order, which sending again would break.
            if pause_s is None or not all(_is_for_a_queue(message) for message in refused):
                raise SpineUnavailable("RabbitMQ refuses messages")
            await asyncio.sleep(pause_s)
        part = refused
    return returned


async def _outcomes(channel: AbstractChannel, part: Sequence[Outgoing]) -> list[object]:
    """What became of each: None, or the exception."""
    if len(part) > 1:
        sent = (_send(channel, message) for message in part)
        return await asyncio.gather(*sent, return_exceptions=True)
    try:
        await _send(channel, part[0])  # A task of its own would cost as much as the sending.
    except Exception as error:
        return [error]
    return [None]


def _is_for_a_queue(message: Outgoing) -> bool:
    return message.exchange == "" and message.routing_key != STREAM


async def _send(channel: AbstractChannel, message: Outgoing) -> None:
    # The driver's interface does not tell of `wait`: without it, each message is drained.
    await cast(Channel, channel).basic_publish(
        message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties=message.properties,
        mandatory=True,
        wait=False,
    )


async def _is_blocked(session: Session) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await session.unblocked()
            return False
    return True
