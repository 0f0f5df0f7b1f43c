"""Which jobs the work queues hold: looked through message by message, never by counts.

A queue's count may be wrong just after the broker started; that there is nothing more to get is
certain.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from observatory.backends.rabbitmq.link import DEADLINE_S, Session, close_channel, translated
from observatory.backends.rabbitmq.messages import work_in
from observatory.backends.rabbitmq.topology import PARKED, declare_work_queue, work_queue
from observatory.core.job import Transition

_MESSAGES_MAX: Final = 500
"""A queue with more is not looked through: its jobs are not certain to be missing."""

_PARKED_MAX: Final = 5000

_SETTLE_S: Final = 0.1
"""What is on its way to a consumer here is neither in the queue nor held; so long, at most."""


class Inventory:
    """Looks for jobs in work queues, among what is parked, and with the consumers here."""

    def __init__(self, held: Callable[[], Iterable[str]]) -> None:
        self._held = held

    async def missing(self, session: Session, queued: Sequence[Transition]) -> list[Transition]:
        """Those that are nowhere. Raises SpineUnavailable."""
        suspects = await self._look(session, queued)
        if suspects:
            await asyncio.sleep(_SETTLE_S)
            suspects = await self._look(session, suspects)
        return suspects

    async def _look(self, session: Session, queued: Sequence[Transition]) -> list[Transition]:
        found: set[str] = set(self._held())
        uncertain: set[str] = set()
        for name in sorted({work_queue(t.queue, t.priority) for t in queued}):
            with translated("looking through a queue"):
                async with asyncio.timeout(DEADLINE_S):
                    count = await declare_work_queue(session, name)
            if count > _MESSAGES_MAX:
                uncertain.add(name)
                continue
            jobs, complete = await look_through(session, name, _MESSAGES_MAX)
            found |= jobs
            if not complete:
                uncertain.add(name)
        parked, complete = await look_through(session, PARKED, _PARKED_MAX)
        if not complete:
            return []
        found |= parked
        found.update(self._held())
        return [
            t
            for t in queued
            if t.job not in found and work_queue(t.queue, t.priority) not in uncertain
        ]


async def look_through(session: Session, name: str, limit: int) -> tuple[set[str], bool]:
    """The jobs in a queue, and whether those are all. What is looked at goes back to its place."""
    jobs: set[str] = set()
    complete = False
    channel = await session.channel()
    try:
        with translated("looking through a queue"):
            async with asyncio.timeout(2 * DEADLINE_S):
                for _ in range(limit + 1):
                    message = await channel.basic_get(name)
                    if isinstance(message.delivery, Basic.GetEmpty):
                        complete = True
                        break
                    jobs |= _jobs(message.body)
                await _give_all_back(channel)
    finally:
        await close_channel(channel)
    return jobs, complete


def _jobs(body: bytes) -> set[str]:
    try:
        return {reference.id for reference in work_in(body).jobs}
    except msgspec.MsgspecError:
        return set()


async def _give_all_back(channel: AbstractChannel) -> None:
    everything: dict[str, Any] = {"delivery_tag": 0, "multiple": True, "requeue": True}
    await channel.basic_nack(**everything, wait=False)
