"""Pausing a queue: its jobs wait, all others go on, and what runs ends in peace."""

import asyncio
from pathlib import Path

import pytest

from observatory import Observatory
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.errors import QueryTooBroad
from services.embedding import served, until
from shapes import embedded_only, on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]


async def test_a_paused_queue_is_left_alone_until_it_is_resumed(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()
    gate = asyncio.Event()

    @app.job("held", queue="slow")
    async def held() -> str:
        await gate.wait()
        return "done"

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database, concurrency=2) as on:
        running = await on.submit("held")
        await on.reached(running, "running")
        before = (await on.job(running))["startedAt"]
        answer = await on.http.post("/queues/slow/pause")
        assert (answer.status_code, answer.json()) == (200, {"queue": "slow", "paused": True})
        assert (await on.http.post("/queues/slow/pause")).status_code == 200
        processor = on.system.processor
        assert processor is not None
        await until(lambda: processor._claimer._consumed == ("default",))

        waiting = [await on.submit("held") for _ in range(3)]
        await on.reached(await on.submit("quick"))
        gate.set()
        assert (await on.reached(running))["result"] == "done"
        await on.reached(await on.submit("quick"))
        assert {(await on.job(id))["state"] for id in waiting} == {"queued"}
        queues = {q["name"]: q for q in (await on.http.get("/queues")).json()["items"]}
        assert queues["slow"]["paused"] is True
        assert queues["slow"]["oldestQueuedAt"] > queues["slow"]["pausedAt"] > before

        assert (await on.http.post("/queues/slow/resume")).json()["paused"] is False
        resumed = (await on.http.get("/queues")).json()["items"]
        assert {(q["paused"], q["pausedAt"]) for q in resumed} == {(False, None)}
        for id in waiting:
            assert (await on.reached(id))["state"] == "completed"
            history = await on.history(id)
            assert [t.attempt for t in history if t.move == "claim"] == [1]

        async def kinds() -> list[str]:
            found = (await on.http.get("/events?subject=slow")).json()["items"]
            return [item["event"]["type"] for item in found]

        await until(kinds)
        assert await kinds() == ["queue.resumed", "queue.paused"], "said once each"


@embedded_only  # Elsewhere a processor keeps to the queues of its job types.
async def test_a_queue_that_nobody_named_is_served_once_a_job_waits_in_it(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> str:
        return "done"

    async with served(app, tmp_path, empty_database) as on:
        assert (await on.reached(await on.submit("quick", queue="unheard.of")))["result"] == "done"
        (worker,) = (await on.http.get("/workers")).json()["items"]
        assert worker["queues"] == ["default", "unheard.of"]


async def test_a_queue_that_is_paused_is_not_taken_up(tmp_path: Path, empty_database: Path) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database) as on:
        processor = on.system.processor
        assert processor is not None
        await on.http.post("/queues/unheard.of/pause")
        waiting = await on.submit("quick", queue="unheard.of")
        for _ in range(2):
            await processor._follow_queues()
        await on.reached(await on.submit("quick"))
        assert (await on.job(waiting))["state"] == "queued"


async def test_a_pause_is_heeded_where_new_queues_cannot_be_asked_for(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()

    async def refused(_: SqliteStore) -> None:
        raise QueryTooBroad("too much waits")

    monkeypatch.setattr(SqliteStore, "oldest_queued", refused)
    async with served(app, tmp_path, empty_database) as on:
        processor = on.system.processor
        assert processor is not None
        await on.http.post("/queues/default/pause")
        await until(lambda: processor._claimer._queues == ())


async def test_a_worker_that_drains_takes_up_no_queue(tmp_path: Path, empty_database: Path) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database) as on:
        processor = on.system.processor
        assert processor is not None
        processor._state = "draining"
        await on.submit("quick", queue="unheard.of")
        await processor._follow_queues()
        assert processor._record.queues == ("default",)


async def test_a_processor_that_was_told_its_queues_takes_from_no_other(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database, queues="default") as on:
        processor = on.system.processor
        assert processor is not None
        elsewhere = await on.submit("quick", queue="unheard.of")
        await on.reached(await on.submit("quick"))
        for _ in range(2):
            await processor._follow_queues()
        assert (await on.job(elsewhere))["state"] == "queued"


async def test_a_pause_outlives_the_process(tmp_path: Path, empty_database: Path) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database) as on:
        assert (await on.http.post("/queues/default/pause")).status_code == 200
    async with served(app, tmp_path) as on:
        job = await on.submit("quick")
        processor = on.system.processor
        assert processor is not None
        assert processor._claimer._consumed == ()
        assert (await on.job(job))["state"] == "queued"
        await on.http.post("/queues/default/resume")
        assert (await on.reached(job))["state"] == "completed"


@pytest.mark.parametrize("name", ["-x", "a" * 64, "a%20b", "%2e%2e"])
async def test_what_is_no_queue_s_name_is_no_path(
    name: str, tmp_path: Path, empty_database: Path
) -> None:
    async with served(Observatory(), tmp_path, empty_database) as on:
        assert (await on.http.post(f"/queues/{name}/pause")).status_code == 404
