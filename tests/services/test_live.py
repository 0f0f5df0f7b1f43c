"""The live stream at the event log's tail."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from observatory import Observatory
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.spine import LogMessage, LogRange
from observatory.services.read_model import live as live_module
from observatory.services.read_model.live import Live, LogEvent, Wanted
from services.embedding import SOON_S, served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

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


async def test_what_is_kept_at_hand_is_bounded_by_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_module, "_TAIL_BYTES_MAX", 200)
    spine: Any = HeldSpine()
    live = Live(spine)
    live.start()
    try:
        async with live.watching("nobody"):
            await until(lambda: live._offset == 0)
            for _ in range(50):
                spine.append()
            await until(lambda: live._offset == 50)
            assert live._tail
            assert sum(len(e.body) for _, events in live._tail for e in events) <= 200
    finally:
        await live.stop()


async def test_whoever_watches_a_subject_is_told_of_it_alone() -> None:
    spine: Any = HeldSpine()
    live = Live(spine)
    live.start()
    try:
        async with live.watching("job-2") as second, live.watching("job-3") as third:
            spine.append()
            spine.append()
            await asyncio.wait_for(second.wait(), SOON_S)
            assert not third.is_set()
            spine.append()
            await asyncio.wait_for(third.wait(), SOON_S)
        assert not live._watchers
    finally:
        await live.stop()


async def test_stopping_releases_whoever_watches() -> None:
    spine: Any = HeldSpine()
    live = Live(spine)
    live.start()
    async with live.watching("job-1") as told:
        await live.stop()
        assert told.is_set()


async def test_a_long_poll_reads_its_job_when_its_job_changes_and_not_when_others_do(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()
    gate = asyncio.Event()

    @app.job("slow")
    async def slow() -> str:
        await gate.wait()
        return "at last"

    @app.job("quick")
    async def quick() -> None: ...

    reads: list[str] = []
    read_job = SqliteStore.job

    async def counted(store: SqliteStore, job_id: str) -> Any:
        reads.append(job_id)
        return await read_job(store, job_id)

    async with served(app, tmp_path, empty_database) as on:
        waited_for = await on.submit("slow")
        await on.reached(waited_for, "running")
        monkeypatch.setattr(SqliteStore, "job", counted)
        poll = asyncio.create_task(
            on.http.get(f"/jobs/{waited_for}", headers={"prefer": "wait=30"})
        )
        await until(lambda: on.system.read_model._live._watchers)
        for _ in range(30):
            other = await on.submit("quick")
            answer = await on.http.get(f"/jobs/{other}", headers={"prefer": "wait=30"})
            assert answer.json()["state"] == "completed"
        assert not poll.done()
        # One at first, one when the poll begins, and one every two seconds.
        assert reads.count(waited_for) <= 8
        gate.set()
        answer = await asyncio.wait_for(poll, SOON_S)
        assert answer.json()["result"] == "at last"
