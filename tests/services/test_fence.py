"""A worker that cannot renew its lease owns nothing: others may take it for dead."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from observatory import JobContext, Observatory
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.errors import StoreUnavailable
from observatory.core.job import ClaimedJob, FinishedAttempt
from observatory.core.lifecycle import Move, OutcomeKind
from observatory.services.processor.notes import Notes
from observatory.services.processor.run import Run
from services.embedding import Served, served, until

pytestmark = pytest.mark.anyio

QUICK = {"lease_seconds": 0.4, "heartbeat_seconds": 0.02}


class Beats:
    """Heartbeats that fail while told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = False
        beat = SqliteStore.heartbeat

        def heartbeat(store: SqliteStore, *status: Any) -> Any:
            if self.failing:
                raise StoreUnavailable("the connection is gone")
            return beat(store, *status)

        monkeypatch.setattr(SqliteStore, "heartbeat", heartbeat)
        # Where a process is alone, nobody takes it for dead.
        monkeypatch.setattr(SqliteStore, "sole_process", False)


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    return Beats(monkeypatch)


async def _is_ready(system: Served) -> bool:
    return (await system.http.get("/readyz")).status_code == 200


async def _fenced(system: Served) -> None:
    async def told() -> bool:
        answer = await system.http.get("/readyz")
        return answer.status_code == 503 and "heartbeats" in answer.text

    await until(told, "for the fence to be told")


async def test_a_fenced_worker_ends_what_it_runs_and_claims_nothing_until_a_beat_succeeds(
    tmp_path: Path, empty_database: Path, beats: Beats
) -> None:
    app = Observatory()
    started: list[str] = []

    @app.job("hold")
    async def hold(name: str, ctx: JobContext) -> None:
        started.append(name)
        if beats.failing or (name == "first" and ctx.attempt == 1):
            await asyncio.Event().wait()

    async with served(app, tmp_path, empty_database, **QUICK) as system:
        first = await system.submit("hold", {"name": "first"})
        await system.reached(first, "running")

        beats.failing = True
        await _fenced(system)
        await system.reached(first, "queued")
        second = await system.submit("hold", {"name": "second"})
        await until(lambda: system.system.dispatcher.backlog == 0)
        for _ in range(100):  # it has both before it and takes neither
            await asyncio.sleep(0.002)
        assert started == ["first"]

        beats.failing = False
        for job in (first, second):
            assert (await system.reached(job))["state"] == "completed"
        await until(lambda: _is_ready(system))
        reached = [t.move for t in await system.history(first)]

    assert reached == [Move.ACCEPT, Move.CLAIM, Move.RELEASE, Move.CLAIM, Move.COMPLETE]


async def test_what_was_being_claimed_while_the_worker_was_fenced_is_handed_back(
    tmp_path: Path, empty_database: Path, beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()
    attempts: list[int] = []
    claimed, go = asyncio.Event(), asyncio.Event()
    claim = SqliteStore.claim

    async def slow_claim(store: SqliteStore, references: Any, worker: str) -> Any:
        result = await claim(store, references, worker)
        claimed.set()
        await go.wait()
        return result

    @app.job("quick")
    async def quick(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)

    monkeypatch.setattr(SqliteStore, "claim", slow_claim)
    async with served(app, tmp_path, empty_database, **QUICK) as system:
        job = await system.submit("quick")
        await claimed.wait()
        beats.failing = True
        await _fenced(system)
        go.set()

        await system.reached(job, "queued")
        assert attempts == []
        beats.failing = False
        await system.reached(job)

    assert attempts == [2]


def _run(timeout_s: float | None, on_settled: Callable[[Run, FinishedAttempt], None]) -> Run:
    app = Observatory()

    @app.job("hold")
    async def hold() -> None:
        await asyncio.Event().wait()

    job = ClaimedJob(
        id="job", type="hold", queue="q", attempt=1, payload="{}", failures=0, crashes=0,
        max_attempts=3, timeout_s=timeout_s, contract_version=1, correlation_id="c",
        traceparent=None,
    )  # fmt: skip
    threads = anyio.CapacityLimiter(1)
    return Run(job, app.handlers["hold"], lambda: 0, Notes(), 1000, threads, on_settled)


async def test_a_run_that_is_ended_before_its_first_step_settles_at_once() -> None:
    settled: list[OutcomeKind] = []
    run = _run(None, lambda _, outcome: settled.append(outcome.outcome))

    run.start()
    run.end(OutcomeKind.RELEASED)

    assert settled == [OutcomeKind.RELEASED]


async def test_a_run_that_has_ended_is_not_kept_by_its_timeout() -> None:
    settled: list[OutcomeKind] = []
    run = _run(3600.0, lambda _, outcome: settled.append(outcome.outcome))
    run.start()
    await asyncio.sleep(0)

    run.end(OutcomeKind.CANCELLED)
    await until(lambda: settled)
    kept = weakref.ref(run)
    del run
    await asyncio.sleep(0)
    gc.collect()

    assert kept() is None
