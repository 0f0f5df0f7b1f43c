"""The processor when the store is away, or refuses: what runs goes on, and nothing noted is lost."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from observatory import JobContext, Observatory, Retry
from observatory.backends.sqlite.spine import SqliteSpine
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.errors import SpineUnavailable, StoreUnavailable
from observatory.core.job import JobLogLine, ProgressReport
from observatory.core.lifecycle import Move
from observatory.services.processor.claim import Claimer
from observatory.services.processor.notes import LINES_WAITING_MAX, Notes
from observatory.services.processor.service import Processor
from services.embedding import served, until

pytestmark = pytest.mark.anyio


class Gate:
    """Lets calls of a store's method through while it is open, and counts those it refused."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.open = True
        self.refused = 0
        self._method = method

    def __call__(self, store: SqliteStore, *arguments: Any) -> Any:
        if not self.open:
            self.refused += 1
            raise StoreUnavailable("database or disk is full")
        return self._method(store, *arguments)

    def stand_before(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SqliteStore, name, lambda *arguments: self(*arguments))


# Claiming goes on


async def test_an_error_nobody_foresaw_does_not_end_the_claiming(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()

    @app.job("good")
    async def good() -> str:
        return "ran"

    claim, faults = Claimer.claim, [ValueError("not a work message"), KeyError("default")]

    async def claim_or_fail(claimer: Claimer, free: int, idle: int) -> Any:
        if faults:
            raise faults.pop()
        return await claim(claimer, free, idle)

    monkeypatch.setattr(Claimer, "claim", claim_or_fail)
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.01)
    async with served(app, tmp_path, empty_database) as system:
        job = await system.reached(await system.submit("good"))
        ready = await system.http.get("/readyz")

    assert (job["result"], faults) == ("ran", [])
    assert ready.status_code == 200


async def test_a_processor_that_claims_no_more_is_not_ready(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()
    async with served(app, tmp_path, empty_database) as system:
        assert (await system.http.get("/readyz")).status_code == 200

        (claiming,) = [task for task in asyncio.all_tasks() if task.get_name() == "claim"]
        claiming.cancel()
        await asyncio.wait([claiming])
        answer = await system.http.get("/readyz")

    assert answer.status_code == 503
    processor = answer.json()["checks"]["processor"]
    assert (processor["ok"], "claiming has ended" in processor["detail"]) == (False, True)


@pytest.mark.parametrize(
    "name",
    ["dispatch to the log", "dispatch work", "forget", "follow", "live", "promoter", "notes"],
)
async def test_a_process_of_which_a_loop_has_ended_is_not_ready(
    tmp_path: Path, empty_database: Path, name: str
) -> None:
    async with served(Observatory(), tmp_path, empty_database) as system:
        assert (await system.http.get("/readyz")).status_code == 200

        (loop,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
        loop.cancel()
        await asyncio.wait([loop])
        answer = await system.http.get("/readyz")

    assert answer.status_code == 503
    assert name in answer.json()["checks"]["loops"]["detail"]


# Heartbeats that fail


@pytest.mark.parametrize("sole", [True, False], ids=["sole process", "one of several"])
async def test_an_outage_of_the_store_is_not_held_against_what_runs(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, sole: bool
) -> None:
    app = Observatory()
    go = asyncio.Event()

    @app.job("hold", retry=Retry(base=0))
    async def hold(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            await go.wait()
        return ctx.attempt

    gate = Gate(SqliteStore.heartbeat)
    gate.stand_before("heartbeat", monkeypatch)
    monkeypatch.setattr(SqliteStore, "sole_process", sole)
    async with served(
        app, tmp_path, empty_database, heartbeat_seconds=0.02, lease_seconds=0.2
    ) as system:
        job_id = await system.submit("hold")
        await system.reached(job_id, "running")
        gate.open = False
        if sole:
            await until(lambda: gate.refused * 0.02 > 0.3)
            assert (await system.job(job_id))["attempt"] == 1, "nobody else could have run it"
            go.set()
        else:
            await system.reached(job_id, "queued")
        gate.open = True
        job = await system.reached(job_id)
        reached = [transition.move for transition in await system.history(job_id)]

    handed_back = [] if sole else [Move.RELEASE, Move.CLAIM]
    assert reached == [Move.ACCEPT, Move.CLAIM, *handed_back, Move.COMPLETE]
    assert (job["result"], job["failures"], job["crashes"]) == (1 if sole else 2, 0, 0)


# Cleaning up


async def test_a_clean_up_is_not_cut_off_by_the_next_heartbeat(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()
    seen: list[str] = []
    beats = threading.Semaphore(0)

    @app.job("tidy")
    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("begun")
            for _ in range(5):
                await asyncio.to_thread(beats.acquire)
            seen.append("ended")

    async with served(app, tmp_path, empty_database, heartbeat_seconds=0.02) as system:
        job_id = await system.submit("tidy")
        await system.reached(job_id, "running")
        heartbeat = system.system.store.heartbeat

        def beat(*arguments: Any) -> Any:
            pulse = heartbeat(*arguments)
            if seen:
                beats.release()
            return pulse

        system.system.store.heartbeat = beat  # type: ignore[method-assign]
        await system.http.post(f"/jobs/{job_id}/cancel")
        job = await system.reached(job_id)

    assert (job["state"], seen) == ("cancelled", ["begun", "ended"])


# Notes


async def test_lines_that_the_store_refused_are_written_later(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()
    said, go = asyncio.Event(), asyncio.Event()

    @app.job("chatty")
    async def chatty(ctx: JobContext) -> None:
        ctx.log.info("first")
        ctx.progress(0.5, "half")
        said.set()
        await go.wait()
        ctx.log.info("second")

    gate = Gate(SqliteStore.note)
    gate.open = False
    gate.stand_before("note", monkeypatch)
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.01)
    async with served(app, tmp_path, empty_database) as system:
        job_id = await system.submit("chatty")
        await said.wait()
        await until(lambda: gate.refused >= 2)
        gate.open = True

        async def noted() -> Any:
            return (await system.job(job_id))["progress"]

        assert (await until(noted))["message"] == "half"
        gate.open = False
        go.set()
        assert (await system.reached(job_id))["state"] == "completed"
        gate.open = True

        async def lines() -> list[str]:
            items = (await system.http.get(f"/jobs/{job_id}/logs")).json()["items"]
            return [item["message"] for item in items]

        async def both() -> bool:
            return len(await lines()) >= 2

        await until(both)
        assert await lines() == ["first", "second"]


def line(number: int) -> JobLogLine:
    return JobLogLine("job", 1, number, "info", str(number), {})


def test_notes_put_back_come_before_newer_ones_and_never_replace_them() -> None:
    notes = Notes()
    notes.report(ProgressReport("job", 1, 1, 0.1, "old"))
    notes.report(ProgressReport("other", 1, 1, 0.2, "only"))
    notes.add(line(1))
    taken = notes.take()
    notes.report(ProgressReport("job", 1, 2, 0.3, "new"))
    notes.add(line(2))

    assert notes.put_back(*taken) == 0

    reports, lines = notes.take()
    assert {report.message for report in reports} == {"new", "only"}
    assert [each.at for each in lines] == [1, 2]
    assert notes.take() == ([], [])


def test_beyond_their_limit_the_oldest_lines_are_dropped_and_counted() -> None:
    notes = Notes()
    notes.add(line(LINES_WAITING_MAX))
    notes.add(line(LINES_WAITING_MAX + 1))

    dropped = notes.put_back([], [line(number) for number in range(LINES_WAITING_MAX)])

    _, lines = notes.take()
    assert dropped == 2
    assert [each.at for each in lines] == list(range(2, LINES_WAITING_MAX + 2))


async def test_how_many_lines_were_dropped_is_said(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()
    go = asyncio.Event()

    @app.job("chatty")
    async def chatty(ctx: JobContext) -> None:
        for number in range(5):
            ctx.log.info(str(number))
        await go.wait()

    gate = Gate(SqliteStore.note)
    gate.open = False
    gate.stand_before("note", monkeypatch)
    monkeypatch.setattr("observatory.services.processor.notes.LINES_WAITING_MAX", 3)
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.01)
    with capture_logs() as said:
        async with served(app, tmp_path, empty_database) as system:
            job_id = await system.submit("chatty")
            await until(lambda: gate.refused >= 2)
            gate.open = True
            go.set()
            await system.reached(job_id)
            answer = await system.http.get(f"/jobs/{job_id}/logs")

    assert [item["message"] for item in answer.json()["items"]] == ["2", "3", "4"]
    assert [entry["lines"] for entry in said if entry["event"] == "notes.dropped"] == [2]


# Stopping


@pytest.mark.parametrize("fault", [StoreUnavailable("database or disk is full"), KeyError("of us")])
async def test_each_part_is_stopped_whatever_came_of_the_one_before(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    stop = Processor.stop

    async def stop_and_fail(processor: Processor) -> None:
        await stop(processor)
        raise fault

    monkeypatch.setattr(Processor, "stop", stop_and_fail)
    with capture_logs() as logs:
        async with served(Observatory(), tmp_path, empty_database):
            before = {task.get_name() for task in asyncio.all_tasks()}
    told = [log for log in logs if log["event"] == "system.not_stopped"]
    assert [(log["part"], log["error"]) for log in told] == [("processor", repr(fault))]
    left = {task.get_name() for task in asyncio.all_tasks()}
    assert {"forget", "dispatch work"} < before
    assert not {name for name in left & before if not name.startswith("Task-")} - {
        asyncio.current_task().get_name()  # type: ignore[union-attr]
    }


async def test_a_spine_that_is_away_is_not_told_as_the_store(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise SpineUnavailable("RabbitMQ does not answer in time")

    async with served(Observatory(), tmp_path, empty_database) as system:
        monkeypatch.setattr(SqliteSpine, "log_range", away)
        monkeypatch.setattr(SqliteSpine, "read_log", away)
        answer = await system.http.get("/events")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    problem = answer.json()
    assert problem["type"].endswith("/problems/spine-unavailable")
    assert "RabbitMQ does not answer" in problem["detail"]
