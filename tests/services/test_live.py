"""The live stream at the event log's tail."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from observatory import Observatory
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.spine import LOG_READ_BYTES_MAX, LogMessage, LogRange, within
from observatory.services.read_model import live as live_module
from observatory.services.read_model import stream as stream_module
from observatory.services.read_model.live import Live
from observatory.services.read_model.log_events import Batch, Position, Wanted
from observatory.services.read_model.stream import Stream
from services.embedding import SOON_S, served, until
from shapes import embedded_only, on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

TURNS = 2_000
"""Turns of the event loop, of which a stream that waits needs next to none."""


class HeldSpine:
    """A log that grows at once and, while it is held, is read late."""

    def __init__(self) -> None:
        self.messages: list[LogMessage] = []
        self.free = asyncio.Event()
        self.free.set()
        self.most_read = 0

    def append(
        self,
        events: int = 1,
        type: str = "job.created",
        padding: int = 0,
        subject: str | None = None,
    ) -> None:
        offset = len(self.messages) + 1
        event = {"type": type, "subject": subject or f"job-{offset}", "data": "x" * padding}
        body = msgspec.json.encode([event] * events)
        self.messages.append(LogMessage(offset, 0, body, None, None))

    async def log_range(self) -> LogRange:
        return LogRange("epoch", 1, len(self.messages))

    async def read_log(
        self, after: int, limit: int, bytes_max: int = LOG_READ_BYTES_MAX
    ) -> list[LogMessage]:
        await self.free.wait()
        read = within(self.messages[after:], limit, bytes_max)
        self.most_read = max(self.most_read, sum(len(message.body) for message in read))
        return read

    async def wait_log(self, after: int, timeout_s: float) -> bool:
        await asyncio.sleep(0 if len(self.messages) > after else 0.001)
        return len(self.messages) > after


class CountedLive(Live):
    """Counts how often its clients read."""

    reads = 0

    async def read(self, after: int) -> list[Batch]:
        self.reads += 1
        return await super().read(after)


async def test_a_client_ahead_of_the_follower_waits_and_does_not_spin() -> None:
    """The log goes on while the follower is slow: what it has not read yet is no reason for a
    client to ask again and again."""
    spine: Any = HeldSpine()
    spine.append()
    live = CountedLive(spine, 100)
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
    live = Live(spine, 100)
    live.start()
    try:
        async with live.watching("nobody"):
            await until(lambda: live._offset == 0)
            for _ in range(50):
                spine.append()
            await until(lambda: live._offset == 50)
            assert live._tail
            assert sum(batch.size for batch in live._tail) <= 200
    finally:
        await live.stop()


async def test_whoever_watches_a_subject_is_told_of_it_alone() -> None:
    spine: Any = HeldSpine()
    live = Live(spine, 100)
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
    live = Live(spine, 100)
    live.start()
    async with live.watching("job-1") as told:
        await live.stop()
        assert told.is_set()


async def test_clients_that_catch_up_hold_little_and_let_others_take_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message may tell of a thousand jobs; ten clients that start far back read all of it."""
    spine: Any = HeldSpine()
    for _ in range(20):
        spine.append(events=300, padding=500)
    spine.append(type="job.failed")
    live = Live(spine, 100)
    since_turn = most_in_a_turn = 0
    frames = Batch.frames

    def counted(batch: Batch, wanted: Wanted, above: Position) -> bytes:
        nonlocal since_turn, most_in_a_turn
        since_turn += 1
        most_in_a_turn = max(most_in_a_turn, since_turn)
        return frames(batch, wanted, above)

    async def take_turns() -> None:
        nonlocal since_turn
        while True:
            await asyncio.sleep(0)
            since_turn = 0

    async def catch_up() -> int:
        got = 0
        stream = live.frames(await live.subscribe((1, 0), resumed=True), Wanted())
        async for chunk in stream:
            got += chunk.count(b"id: ")
            assert len(chunk) < 2 * live_module._READ_BYTES_MAX
            if b"job.failed" in chunk:
                break
        await stream.aclose()
        return got

    monkeypatch.setattr(Batch, "frames", counted)
    others = asyncio.create_task(take_turns())
    got = await asyncio.gather(*(catch_up() for _ in range(10)))
    others.cancel()

    assert got == [20 * 300 - 1 + 1] * 10  # all but the event that was seen, and the last one
    assert most_in_a_turn <= 2
    assert spine.most_read <= live_module._READ_BYTES_MAX
    assert live.clients == 0


@pytest.mark.parametrize("forwards", [False, True], ids=["newest first", "oldest first"])
async def test_a_search_for_a_rare_event_reads_a_part_and_says_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch, forwards: bool
) -> None:
    monkeypatch.setattr(live_module, "_SEARCH_BYTES_MAX", 1024 * 1024)
    monkeypatch.setattr(live_module, "LOG_READ_BYTES_MAX", 256 * 1024)
    spine: Any = HeldSpine()
    for number in range(30):
        spine.append(type="job.failed")
        spine.append(events=300, padding=(number % 7) * 100)
    live = Live(spine, 100)
    wanted = Wanted(types=("job.failed",))
    read = 0
    given = spine.read_log

    async def counted(*arguments: Any) -> list[LogMessage]:
        nonlocal read
        messages = await given(*arguments)
        read += sum(len(message.body) for message in messages)
        return messages

    monkeypatch.setattr(spine, "read_log", counted)
    found: list[int] = []
    at: Position | None = (1, -1) if forwards else None
    for _ in range(40):
        read = 0
        page, at = await (
            live.oldest(wanted, at or (1, 0), 50) if forwards else live.newest(wanted, at, 50)
        )
        assert read < 3 * 1024 * 1024
        found += [event.offset for event in page]
        if at is None:
            break

    expected = list(range(1, 60, 2))
    assert found == (expected if forwards else expected[::-1])


async def test_a_subject_that_json_writes_with_escapes_is_found() -> None:
    spine: Any = HeldSpine()
    spine.append(subject='a"b')
    live = Live(spine, 100)

    found, _ = await live.newest(Wanted(subject='a"b'), None, 10)

    assert [event.head.subject for event in found] == ['a"b']


async def test_events_that_are_not_wanted_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Batch) -> None:
        raise AssertionError("nobody wants a body")

    monkeypatch.setattr(Batch, "bodies", property(refuse))
    spine: Any = HeldSpine()
    spine.append(events=10)
    live = Live(spine, 100)

    assert await live.newest(Wanted(types=("job.failed",)), None, 10) == ([], None)


async def test_no_more_streams_are_opened_than_may_be(tmp_path: Path, empty_database: Path) -> None:
    async with served(Observatory(), tmp_path, empty_database, streams_max=1) as on:
        live = on.system.read_model._live
        stream = live.frames(await live.subscribe(None, resumed=False), Wanted())
        reading = asyncio.create_task(anext(stream))
        await until(lambda: live.clients == 1)

        refused = await on.http.get("/events/stream")

        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["type"].endswith("/overloaded")
        reading.cancel()
        await asyncio.wait([reading])
        await stream.aclose()
        await live.subscribe(None, resumed=False)


async def test_whoever_has_seen_nothing_starts_at_the_oldest_event_that_is_kept(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database) as on:
        job = await on.submit("quick")
        await on.reached(job)
        live = on.system.read_model._live
        stream = live.frames(await live.subscribe((0, 0), resumed=True), Wanted(subject=job))

        first = await asyncio.wait_for(anext(stream), SOON_S)

        assert b"event: reset" not in first
        assert b'"type":"job.created"' in first
        await stream.aclose()


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


@embedded_only
async def test_a_reader_that_takes_nothing_is_cut_off_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "_READ_WITHIN_S", 0.02)
    spine: Any = HeldSpine()
    live = Live(spine, 100)
    live.start()
    frames = live.frames(await live.subscribe(None, resumed=False), Wanted())
    response = Stream(frames, anyio.Event(), live.cut_off)
    heads: list[Any] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            heads.append(message)
        else:
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    try:
        reading = asyncio.create_task(response({"type": "http", "method": "GET"}, receive, send))
        await until(lambda: live.clients and live._offset is not None)
        spine.append()
        await asyncio.wait([reading], timeout=SOON_S)
        assert reading.exception() is not None
        assert (len(heads), live.clients, live.dropped) == (1, 0, 1)
    finally:
        await live.stop()
