"""The live stream at the event log's tail."""

import asyncio
from typing import Any

import msgspec
import pytest

from observatory.core.spine import LogMessage, LogRange
from observatory.services.read_model.live import Live, LogEvent, Wanted
from services.embedding import SOON_S, until

pytestmark = pytest.mark.anyio

TURNS = 2_000
"""Turns of the event loop, of which a stream that waits needs next to none."""


class HeldSpine:
    """A log that grows at once and, while it is held, is read late."""

    def __init__(self) -> None:
        self.messages: list[LogMessage] = []
        self.free = asyncio.Event()
        self.free.set()

    def append(self) -> None:
        offset = len(self.messages) + 1
        body = msgspec.json.encode([{"type": "job.created", "subject": f"job-{offset}"}])
        self.messages.append(LogMessage(offset, 0, body, None, None))

    async def log_range(self) -> LogRange:
        return LogRange("epoch", 1, len(self.messages))

    async def read_log(self, after: int, limit: int) -> list[LogMessage]:
        await self.free.wait()
        return self.messages[after : after + limit]

    async def wait_log(self, after: int, timeout_s: float) -> bool:
        await asyncio.sleep(0 if len(self.messages) > after else 0.001)
        return len(self.messages) > after


class CountedLive(Live):
    """Counts how often its clients read."""

    reads = 0

    async def read(self, after: int, limit: int = 100) -> list[tuple[int, list[LogEvent]]]:
        self.reads += 1
        return await super().read(after, limit)


async def test_a_client_ahead_of_the_follower_waits_and_does_not_spin() -> None:
    """The log goes on while the follower is slow: what it has not read yet is no reason for a
    client to ask again and again."""
    spine: Any = HeldSpine()
    spine.append()
    live = CountedLive(spine)
    frames = live.frames(await live.subscribe(None, resumed=False), Wanted())
    live.start()
    second = None
    try:
        first = asyncio.create_task(anext(frames))
        await until(lambda: live.clients and live._offset == 1)
        spine.append()
        assert b"job-2" in await asyncio.wait_for(first, SOON_S)
        await until(lambda: live._tail, "the follower has message 2")

        spine.free.clear()
        spine.append()
        second = asyncio.create_task(anext(frames))
        before = live.reads
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert live.reads - before < TURNS / 100, "it spins"
        assert not second.done()

        spine.free.set()
        assert b"job-3" in await asyncio.wait_for(second, SOON_S)
    finally:
        spine.free.set()
        if second is not None:
            second.cancel()
            await asyncio.wait([second])
        await frames.aclose()
        await live.stop()
