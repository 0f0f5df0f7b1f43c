"""The processor, whatever the handler does: each test runs the whole embedded system."""

import asyncio
import gc
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conformance.making import accept, claim, submission
from observatory import JobContext, NonRetryable, Observatory, Retry
from observatory.core.lifecycle import Move, OutcomeKind
from observatory.services.processor.notes import LOG_LINES_MAX
from observatory.services.processor.slots import Slots
from services.embedding import SOON_S, Served, assert_aggregates_equal_the_store, served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

AT_ONCE = Retry(base=0, jitter=False)


@pytest.fixture
def app() -> Observatory:
    """Without any job type; each test registers its own."""
    return Observatory()


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path) -> Path:
    """Where the system lives, with a database that needs no migrating."""
    data = tmp_path / "data"
    data.mkdir()
    (data / empty_database.name).write_bytes(empty_database.read_bytes())
    return tmp_path


async def moves(system: Served, job_id: str) -> list[Move]:
    return [transition.move for transition in await system.history(job_id)]


# Running


async def test_a_coroutine_and_a_plain_function_are_run(app: Observatory, folder: Path) -> None:
    threads: dict[str, int] = {}

    @app.job("async")
    async def coroutine(n: int) -> dict[str, int]:
        threads["async"] = threading.get_ident()
        return {"doubled": 2 * n}

    @app.job("sync")
    def function(n: int, ctx: JobContext) -> list[Any]:
        threads["sync"] = threading.get_ident()
        return [ctx.job_type, ctx.attempt, n]

    async with served(app, folder) as system:
        first = await system.submit("async", {"n": 2})
        second = await system.submit("sync", {"n": 3})

        assert (await system.reached(first))["result"] == {"doubled": 4}
        assert (await system.reached(second))["result"] == ["sync", 1, 3]
        assert await moves(system, first) == [Move.ACCEPT, Move.CLAIM, Move.COMPLETE]

    assert threads["async"] == threading.get_ident()
    assert threads["sync"] != threading.get_ident()


async def test_a_handler_is_given_the_values_its_hints_promise(
    app: Observatory, folder: Path
) -> None:
    seen: dict[str, Any] = {}

    @app.job("typed")
    async def typed(
        n: int,
        ratio: float,
        names: dict[int, str],
        due: datetime,
        tags: set[str],
        pair: tuple[int, str] | None = None,
        note: str | None = None,
    ) -> None:
        seen.update(locals())

    payload = {
        "n": 2.0,  # an integer to JSON Schema
        "ratio": 3,
        "names": {"1": "one"},
        "due": "2026-11-23T21:01:25Z",
        "tags": ["a", "b"],
        "pair": [1, "x"],
        "note": "null",
    }
    async with served(app, folder) as system:
        job = await system.reached(await system.submit("typed", payload))

    assert job["error"] is None
    given = {name: seen[name] for name in payload}
    assert repr(given.pop("tags")) in ("{'a', 'b'}", "{'b', 'a'}")
    assert given == {
        "n": 2,
        "ratio": 3.0,
        "names": {1: "one"},
        "due": datetime(2026, 11, 23, 21, 1, 25, tzinfo=UTC),
        "pair": (1, "x"),
        "note": "null",
    }
    assert [type(given[name]) for name in ("n", "ratio")] == [int, float]


async def test_no_more_runs_are_under_way_than_there_are_slots(
    app: Observatory, folder: Path
) -> None:
    under_way = most = 0
    go = asyncio.Event()

    @app.job("hold")
    async def hold() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go.wait()
        under_way -= 1

    async with served(app, folder, concurrency=3) as system:
        jobs = [await system.submit("hold") for _ in range(8)]
        await until(lambda: under_way == 3)
        go.set()
        for job in jobs:
            assert (await system.reached(job))["state"] == "completed"

    assert most == 3


async def test_what_was_claimed_ahead_of_long_jobs_waits_in_its_queue_again(
    app: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[int] = []
    go = asyncio.Event()

    @app.job("hold")
    async def hold(n: int) -> None:
        began.append(n)
        await go.wait()

    def ahead(slots: Slots, *_: float) -> None:
        slots._ahead = slots.count

    async with served(app, folder, concurrency=3) as system:
        monkeypatch.setattr(Slots, "claimed", ahead)
        jobs = [await system.submit("hold", {"n": n}) for n in range(6)]
        await until(lambda: len(began) == 3)
        await until(lambda: len(system.system.processor._slots.runs) == 6)
        monkeypatch.undo()

        async def in_state(state: str) -> int:
            answer = await system.http.get("/jobs", params={"state": state})
            return len(answer.json()["items"])

        async def as_it_is() -> bool:
            return (await in_state("running"), await in_state("queued")) == (3, 3)

        await until(as_it_is)
        go.set()
        for job in jobs:
            assert (await system.reached(job))["state"] == "completed"
        assert sorted(began) == list(range(6)), "each began once"


async def test_a_higher_priority_goes_first(app: Observatory, folder: Path) -> None:
    go = asyncio.Event()
    order: list[str] = []

    @app.job("hold")
    async def hold(name: str) -> None:
        order.append(name)
        await go.wait()

    async with served(app, folder, concurrency=1) as system:
        first = await system.submit("hold", {"name": "first"})
        await system.reached(first, "running")
        jobs = [
            await system.submit("hold", {"name": name}, priority=name)
            for name in ("low", "normal", "high")
        ]

        async def waiting() -> bool:
            return system.system.dispatcher.backlog == 0

        await until(waiting)
        go.set()
        for job in jobs:
            await system.reached(job)

    assert order == ["first", "high", "normal", "low"]


async def test_progress_and_lines_are_kept(app: Observatory, folder: Path) -> None:
    @app.job("chatty")
    def chatty(ctx: JobContext) -> None:
        ctx.log.info("begun", rows=3, ratio=0.5, nothing=None, odd={1, 2}.__class__)
        ctx.progress(0.25, "a quarter")
        ctx.log.warning("NUL \x00 and half a pair \ud800")
        ctx.progress(7, "too much")

    async with served(app, folder) as system:
        job_id = await system.submit("chatty")
        job = await system.reached(job_id)
        answer = await system.http.get(f"/jobs/{job_id}/logs")

    assert job["state"] == "completed"
    assert (job["progress"]["fraction"], job["progress"]["message"]) == (1.0, "too much")
    lines = answer.json()["items"]
    assert [(line["level"], line["attempt"]) for line in lines] == [("info", 1), ("warning", 1)]
    assert lines[0]["message"] == "begun"
    assert {"rows": 3, "ratio": 0.5, "nothing": None}.items() <= lines[0]["fields"].items()
    assert "\x00" not in lines[1]["message"]


async def test_notes_the_store_refuses_do_not_keep_a_job_from_ending(
    app: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from observatory.backends.sqlite.store import SqliteStore
    from observatory.core.errors import StoreUnavailable

    async def refuse(*_: Any) -> None:
        raise StoreUnavailable("not now")

    @app.job("chatty")
    async def chatty(ctx: JobContext) -> None:
        ctx.log.info("begun")
        ctx.progress(0.5)

    monkeypatch.setattr(SqliteStore, "note", refuse)
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.01)
    async with served(app, folder) as system:
        job = await system.reached(await system.submit("chatty"))
        monkeypatch.undo()

    assert job["state"] == "completed"


async def test_a_delayed_job_is_not_started_before_it_is_due(
    app: Observatory, folder: Path
) -> None:
    @app.job("later")
    async def later() -> None: ...

    async with served(app, folder) as system:
        job_id = await system.submit("later", delaySeconds=0.3)
        assert (await system.job(job_id))["state"] == "scheduled"
        await system.reached(job_id)
        history = await system.history(job_id)

    assert [t.move for t in history] == [Move.DEFER, Move.PROMOTE, Move.CLAIM, Move.COMPLETE]
    due = history[0].scheduled_at
    assert due == history[0].at + 300_000
    assert history[1].at >= due


# Failing


async def test_a_failed_attempt_is_tried_again_after_its_backoff(
    app: Observatory, folder: Path
) -> None:
    @app.job("flaky", max_attempts=3, retry=Retry(base=0.05, factor=2, jitter=False))
    async def flaky(ctx: JobContext) -> int:
        if ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        return ctx.attempt

    async with served(app, folder) as system:
        job_id = await system.submit("flaky")
        job = await system.reached(job_id)
        history = await system.history(job_id)

    assert (job["state"], job["result"], job["attempt"], job["failures"]) == ("completed", 3, 3, 2)
    assert job["error"] is None
    retries = [t for t in history if t.move is Move.SCHEDULE_RETRY]
    assert [(t.scheduled_at or 0) - t.at for t in retries] == [50_000, 100_000]
    promoted = [t for t in history if t.move is Move.PROMOTE]
    for retry, promotion in zip(retries, promoted, strict=True):
        assert promotion.at >= (retry.scheduled_at or 0)


async def test_attempts_that_all_fail_end_the_job_with_the_last_error(
    app: Observatory, folder: Path
) -> None:
    @app.job("broken", max_attempts=2, retry=AT_ONCE)
    def broken(ctx: JobContext) -> None:
        raise LookupError(f"attempt {ctx.attempt}")

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("broken"))

    assert (job["state"], job["attempt"]) == ("failed", 2)
    assert (job["error"]["type"], job["error"]["message"]) == ("LookupError", "attempt 2")
    assert "in broken" in job["error"]["traceback"]
    assert "processor/run.py" not in job["error"]["traceback"]


async def test_a_handler_may_say_that_trying_again_would_not_help(
    app: Observatory, folder: Path
) -> None:
    @app.job("hopeless", retry=AT_ONCE)
    async def hopeless() -> None:
        raise NonRetryable("no such customer")

    async with served(app, folder) as system:
        job_id = await system.submit("hopeless")
        job = await system.reached(job_id)
        history = await system.history(job_id)

    assert (job["state"], job["attempt"], job["error"]["message"]) == (
        "failed",
        1,
        "no such customer",
    )
    assert history[-1].reason == "not_retryable"


@pytest.mark.parametrize("failure", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_no_exception_of_a_handler_ends_its_worker(
    app: Observatory, folder: Path, failure: type[BaseException], kind: str
) -> None:
    @app.job("async", max_attempts=1)
    async def leave() -> None:
        raise failure(3)

    @app.job("sync", max_attempts=1)
    def leave_too() -> None:
        raise failure(3)

    @app.job("good")
    async def good() -> str:
        return "alive"

    async with served(app, folder) as system:
        job = await system.reached(await system.submit(kind))
        assert (await system.reached(await system.submit("good")))["result"] == "alive"

    assert job["state"] == "failed"
    # Python itself lets no StopIteration out of a coroutine, and tells of it as the cause.
    raised = (failure, kind) == (StopIteration, "async")
    assert job["error"]["type"] == ("RuntimeError" if raised else failure.__name__)
    assert "raise failure(3)" in job["error"]["traceback"]


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("NUL \x00 inside"),
        ValueError("half a pair \ud800"),
        ValueError("x" * 1_000_000),
        ValueError(),
        Untellable(),
        ExceptionGroup("two", [ValueError("a\x00"), ExceptionGroup("in", [OSError(2, "b")])]),
    ],
    ids=["nul", "surrogate", "huge", "empty", "untellable", "group"],
)
async def test_an_error_is_recorded_whatever_stands_in_it(
    app: Observatory, folder: Path, error: Exception
) -> None:
    @app.job("broken", max_attempts=1)
    async def broken() -> None:
        raise error

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("broken"))
        groups = await system.http.get("/failures")

    assert job["state"] == "failed"
    assert job["error"]["type"] == type(error).__name__
    assert "\x00" not in job["error"]["message"] + job["error"]["traceback"]
    assert len(job["error"]["message"]) <= 4096
    assert groups.json()["items"][0]["sampleJobId"] == job["id"]


class Endless:
    def __init__(self) -> None:
        self.inner: list[Any] = []
        self.inner.append(self.inner)


@pytest.mark.parametrize(
    "result",
    [
        object(),
        Endless().inner,
        {1: object()},
        "half \ud800",
        "NUL \x00",
        {"a": ["\x00"]},
        1j,
        float("nan"),
        [None, {"a": float("inf")}],
        10**30,
        json.loads("[" * 100 + "]" * 100),
    ],
    ids=[
        "object",
        "endless",
        "inner",
        "surrogate",
        "nul",
        "inner-nul",
        "complex",
        "nan",
        "infinity",
        "long-integer",
        "deep",
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_result_that_cannot_be_kept_fails_its_job_once(
    app: Observatory, folder: Path, result: Any, kind: str
) -> None:
    @app.job("async", retry=AT_ONCE)
    async def give() -> Any:
        return result

    @app.job("sync", retry=AT_ONCE)
    def give_too() -> Any:
        return result

    async with served(app, folder) as system:
        job_id = await system.submit(kind)
        job = await system.reached(job_id)
        history = await system.history(job_id)

    assert (job["state"], job["attempt"], job["result"]) == ("failed", 1, None)
    assert history[-1].outcome is OutcomeKind.UNSERIALISABLE
    assert job["error"]["type"] == "ResultNotKept"


async def test_a_result_over_the_limit_fails_its_job_and_says_so(
    app: Observatory, folder: Path
) -> None:
    @app.job("large")
    async def large() -> str:
        return "x" * 10_000_000

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("large"))

    assert (job["state"], job["error"]["type"]) == ("failed", "ResultTooLarge")
    assert "1048576" in job["error"]["message"]


async def test_a_payload_its_handler_no_longer_takes_is_not_tried_again(
    app: Observatory, folder: Path
) -> None:
    @app.job("work")
    async def work(n: int) -> None: ...

    @app.job("hold")
    async def hold() -> None:
        await asyncio.Event().wait()

    async with served(app, folder, concurrency=1, grace_seconds=0) as system:
        await system.reached(await system.submit("hold"), "running")
        job_id = await system.submit("work", {"n": 1})
    newer = Observatory()

    @newer.job("work", retry=AT_ONCE)
    async def changed(n: str) -> None: ...

    async with served(newer, folder) as system:
        job = await system.reached(job_id)

    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert job["error"]["type"] == "PayloadMismatch"
    assert "contract" in job["error"]["message"]


# Time limits


async def test_a_coroutine_that_takes_too_long_is_cancelled(app: Observatory, folder: Path) -> None:
    cancelled = asyncio.Event()

    @app.job("slow", max_attempts=1, timeout=0.1)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with served(app, folder) as system:
        job_id = await system.submit("slow")
        job = await system.reached(job_id)
        history = await system.history(job_id)

    assert cancelled.is_set()
    assert (job["state"], job["error"]["type"]) == ("failed", "TimeoutError")
    assert "0.1 seconds" in job["error"]["message"]
    assert history[-1].outcome is OutcomeKind.TIMEOUT
    assert history[-1].at - history[-2].at >= 100_000


async def test_a_function_that_takes_too_long_is_told_and_given_up(
    app: Observatory, folder: Path
) -> None:
    told, go = threading.Event(), threading.Event()

    # Long enough for a busy machine to begin: what has not is given up without being told.
    @app.job("slow", max_attempts=1, timeout=1.0)
    def slow(ctx: JobContext) -> None:
        while not ctx.cancelled:
            if go.wait(0.001):
                return
        told.set()

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("slow"))
        assert (job["state"], job["error"]["type"]) == ("failed", "TimeoutError")
        await until(told.is_set)
    go.set()


async def test_an_attempt_that_timed_out_is_tried_again(app: Observatory, folder: Path) -> None:
    @app.job("slow", timeout=0.1, retry=AT_ONCE)
    async def slow(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("slow"))

    assert (job["state"], job["result"], job["failures"]) == ("completed", 2, 1)


# Cancelling


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_running_job_is_cancelled(app: Observatory, folder: Path, kind: str) -> None:
    ended = threading.Event()

    @app.job("async")
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @app.job("sync")
    def wait_too(ctx: JobContext) -> None:
        while not ctx.cancelled and not ended.wait(0.001):
            pass
        ended.set()

    async with served(app, folder) as system:
        job_id = await system.submit(kind)
        await system.reached(job_id, "running")
        answer = await system.http.post(f"/jobs/{job_id}/cancel")
        assert answer.status_code == 202
        job = await system.reached(job_id)
        await until(ended.is_set)
        history = await system.history(job_id)

    assert (job["state"], job["attempt"], job["failures"]) == ("cancelled", 1, 0)
    assert (history[-1].move, history[-1].reason) == (Move.CANCEL, "requested")


async def test_a_handler_that_ends_well_although_cancelled_has_ended_well(
    app: Observatory, folder: Path
) -> None:
    @app.job("stubborn")
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    async with served(app, folder) as system:
        job_id = await system.submit("stubborn")
        await system.reached(job_id, "running")
        await system.http.post(f"/jobs/{job_id}/cancel")
        job = await system.reached(job_id)

    assert (job["state"], job["result"]) == ("completed", "done all the same")


async def test_a_handler_that_swallows_its_cancellation_is_abandoned(
    app: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.processor.run._ABANDON_AFTER_S", 0.1)
    go = asyncio.Event()
    swallowed = 0
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))

    @app.job("deaf")
    async def deaf() -> None:
        nonlocal swallowed
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                swallowed += 1

    @app.job("good")
    async def good() -> str:
        return "has a slot"

    async with served(app, folder, concurrency=1) as system:
        job_id = await system.submit("deaf")
        await system.reached(job_id, "running")
        await system.http.post(f"/jobs/{job_id}/cancel")

        job = await system.reached(job_id)
        other = await system.reached(await system.submit("good"))

        assert job["state"] == "cancelled"
        assert other["result"] == "has a slot"
        assert swallowed >= 1
        assert system.system.processor.abandoned == 1
        go.set()
        await until(lambda: system.system.processor.abandoned == 0)
        assert (await system.job(job_id))["state"] == "cancelled", "it is too late to complete"

    gc.collect()  # which makes a task that nobody looked at complain
    assert complaints == [], "a run settles once"


async def test_a_handler_whose_own_task_was_cancelled_has_failed(
    app: Observatory, folder: Path
) -> None:
    @app.job("inner", max_attempts=1)
    async def inner() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("inner"))

    assert job["state"] == "failed", "nobody asked to cancel the job"
    assert job["error"]["type"] == "CancelledError"


# Ending and beginning anew


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_drain_hands_back_what_runs_and_charges_nothing(
    app: Observatory, folder: Path, kind: str
) -> None:
    go = threading.Event()

    @app.job("async", max_attempts=1)
    async def hold(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    @app.job("sync", max_attempts=1)
    def hold_too(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            go.wait(SOON_S)
        return ctx.attempt

    async with served(app, folder, grace_seconds=0.05) as system:
        job_id = await system.submit(kind)
        await system.reached(job_id, "running")
    go.set()

    async with served(app, folder) as system:
        job = await system.reached(job_id)
        reached = await moves(system, job_id)
    assert reached == [Move.ACCEPT, Move.CLAIM, Move.RELEASE, Move.CLAIM, Move.COMPLETE]
    assert (job["result"], job["failures"], job["crashes"]) == (2, 0, 0)


async def test_an_idle_system_drains_at_once(app: Observatory, folder: Path) -> None:
    @app.job("good")
    async def good() -> None: ...

    async with served(app, folder, grace_seconds=60.0) as system:
        await system.reached(await system.submit("good"))
        begun = time.perf_counter()

    assert time.perf_counter() - begun < 30, "it waited for what was not there"


async def test_a_drain_waits_for_what_ends_within_its_grace(app: Observatory, folder: Path) -> None:
    go = asyncio.Event()

    @app.job("hold")
    async def hold() -> str:
        await go.wait()
        return "ended"

    async with served(app, folder) as system:
        job_id = await system.submit("hold")
        await system.reached(job_id, "running")
        asyncio.get_running_loop().call_later(0.1, go.set)

    async with served(app, folder) as system:
        job = await system.job(job_id)
        reached = await moves(system, job_id)
    assert (job["state"], job["result"]) == ("completed", "ended")
    assert reached == [Move.ACCEPT, Move.CLAIM, Move.COMPLETE]


async def test_jobs_nobody_here_can_run_are_parked_and_not_lost(
    app: Observatory, folder: Path
) -> None:
    @app.job("known")
    async def known() -> None: ...

    async with served(app, folder, allow_unknown_types=True) as system:
        job_id = await system.submit("nobody.knows", {"n": 1})
        await system.reached(await system.submit("known"))
        assert (await system.job(job_id))["state"] == "queued"

    @app.job("nobody.knows")
    async def at_last(n: int) -> int:
        return n

    async with served(app, folder) as system:
        job = await system.reached(job_id)
    assert (job["state"], job["result"], job["attempt"]) == ("completed", 1, 1)


async def test_what_waited_when_the_system_ended_is_run_by_the_next(
    app: Observatory, folder: Path
) -> None:
    go = asyncio.Event()

    @app.job("hold")
    async def hold() -> None:
        await go.wait()

    async with served(app, folder, concurrency=1, grace_seconds=0) as system:
        jobs = [await system.submit("hold") for _ in range(5)]
        await system.reached(jobs[0], "running")
    go.set()

    async with served(app, folder) as system:
        for job in jobs:
            assert (await system.reached(job))["state"] == "completed"


async def test_a_worker_declared_dead_ends_what_it_runs_and_comes_back(
    app: Observatory, folder: Path
) -> None:
    cancelled = asyncio.Event()

    @app.job("hold", retry=AT_ONCE)
    async def hold(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return ctx.attempt

    async with served(app, folder) as system:
        job_id = await system.submit("hold")
        await system.reached(job_id, "running")

        lost, commit = await system.system.store.rescue("other.example:1:boot", 0, 10)
        system.system.dispatcher.put(commit)

        assert [one.id for one in lost] == [system.system.processor.worker]
        job = await system.reached(job_id)
        assert cancelled.is_set()
        reached = await moves(system, job_id)

    assert (job["state"], job["result"], job["crashes"]) == ("completed", 2, 1)
    assert reached == [
        Move.ACCEPT, Move.CLAIM, Move.SCHEDULE_RETRY, Move.PROMOTE, Move.CLAIM, Move.COMPLETE,
    ]  # fmt: skip


async def test_a_run_that_is_on_record_and_was_never_begun_is_handed_back(
    app: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.processor.service._RUNS_INTERVAL_S", 0.05)

    @app.job("slow")
    async def slow() -> None:
        await asyncio.sleep(0.5)

    async with served(app, folder) as system:
        assert system.system.processor is not None
        store, worker = system.system.store, system.system.processor.worker
        (job,) = await accept(store, submission("slow", payload="{}"))
        await claim(store, job, by=worker)

        await system.reached(job)

        assert (await moves(system, job))[1:] == [
            Move.CLAIM, Move.RELEASE, Move.CLAIM, Move.COMPLETE,
        ]  # fmt: skip
        kept = await store.job(job)
        assert kept is not None
        assert (kept.attempt, kept.failures, kept.crashes) == (2, 0, 0)


async def test_a_spine_that_takes_nothing_keeps_no_outcome_waiting(
    app: Observatory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.job("tells")
    async def tells(ctx: JobContext) -> None:
        ctx.progress(0.5)

    async with served(app, folder) as system:
        held = asyncio.Event()

        async def announce(events: list[Any]) -> None:
            await held.wait()

        monkeypatch.setattr(system.system.dispatcher, "announce", announce)
        try:
            ended = await system.reached(await system.submit("tells"))
        finally:
            held.set()

    assert ended["state"] == "completed"


async def test_a_drain_leaves_no_run_on_record(app: Observatory, folder: Path) -> None:
    @app.job("slow")
    async def slow() -> None: ...

    async with served(app, folder) as system:
        assert system.system.processor is not None
        store, worker = system.system.store, system.system.processor.worker
        (job,) = await accept(store, submission("slow", payload="{}"))
        await claim(store, job, by=worker)

    async with served(app, folder) as system:
        assert (await system.reached(job))["state"] == "completed"
        assert Move.RELEASE in await moves(system, job)


async def test_once_quiet_the_aggregates_equal_the_store(app: Observatory, folder: Path) -> None:
    @app.job("mixed", max_attempts=2, retry=AT_ONCE)
    async def mixed(n: int, ctx: JobContext) -> int:
        if n % 3 == 0:
            raise ValueError(n)
        if n % 3 == 1 and ctx.attempt == 1:
            raise ValueError(n)
        return n

    async with served(app, folder) as system:
        jobs = [await system.submit("mixed", {"n": n}) for n in range(30)]
        jobs += [await system.submit("mixed", {"n": 2}, delaySeconds=3600) for _ in range(3)]
        await system.http.post(f"/jobs/{jobs[-1]}/cancel")
        for job in jobs[:30]:
            await system.reached(job)

        async def followed() -> bool:
            if (await system.system.store.outbox_backlog()).commits:
                return False
            position = await system.system.aggregates.position()
            end = (await system.system.spine.log_range()).last
            return position is not None and position.offset >= end

        await until(followed)
        await assert_aggregates_equal_the_store(system.system.aggregates, system.system.store)
        stats = (await system.http.get("/stats")).json()
        assert stats["states"]["completed"] == 20
        assert stats["states"]["failed"] == 10
        assert (stats["states"]["scheduled"], stats["states"]["cancelled"]) == (2, 1)
        assert system.system.follower.rebuilds == 1, "it started empty, and then only followed"


async def test_a_handler_that_blocks_past_its_timeout_is_said_so(
    app: Observatory, folder: Path
) -> None:
    @app.job("blocks", timeout=0.1)
    async def blocks() -> None:
        time.sleep(0.8)

    async with served(app, folder) as system:
        job_id = await system.submit("blocks")
        assert (await system.reached(job_id))["state"] == "completed"
        (line,) = (await system.http.get(f"/jobs/{job_id}/logs")).json()["items"]

    assert line["level"] == "warning"
    assert "past its timeout of 0.1 s" in line["message"]


async def test_lines_that_are_not_kept_are_counted(app: Observatory, folder: Path) -> None:
    @app.job("talks")
    def talks(ctx: JobContext) -> None:
        for n in range(LOG_LINES_MAX + 7):
            ctx.log.info("line", n=n)

    async with served(app, folder) as system:
        job_id = await system.submit("talks")
        await system.reached(job_id)
        lines = await system.system.store.job_logs(job_id, LOG_LINES_MAX - 1, 10)

    assert [line.message for _, line in lines][-1] == (
        f"7 more lines were written; {LOG_LINES_MAX} of an attempt are kept"
    )


async def test_a_field_of_a_log_line_may_have_any_name(app: Observatory, folder: Path) -> None:
    @app.job("talks")
    def talks(ctx: JobContext) -> None:
        ctx.log.info("said", message="hello", self="me", level="high")

    async with served(app, folder) as system:
        job_id = await system.submit("talks")
        assert (await system.reached(job_id))["state"] == "completed"
        (line,) = (await system.http.get(f"/jobs/{job_id}/logs")).json()["items"]

    assert line["fields"] == {"message": "hello", "self": "me", "level": "high"}


class Name(str):
    pass


class Share(float):
    pass


async def test_a_result_of_a_class_derived_from_a_json_type_is_that_type(
    app: Observatory, folder: Path
) -> None:
    @app.job("derives")
    def derives(share: float = 0.5) -> Any:
        return {"name": Name("ann"), "share": Share(share), Name("key"): Name("null")}

    async with served(app, folder) as system:
        job_id = await system.submit("derives")
        expected = {"name": "ann", "share": 0.5, "key": "null"}
        assert (await system.reached(job_id))["result"] == expected


async def test_a_result_too_deep_is_called_the_result(app: Observatory, folder: Path) -> None:
    @app.job("digs")
    def digs() -> Any:
        value: list[Any] = []
        for _ in range(100):
            value = [value]
        return value

    async with served(app, folder) as system:
        job = await system.reached(await system.submit("digs"))

    assert job["error"]["message"].startswith(
        "the result cannot be kept as JSON: it is nested deeper"
    )


@pytest.mark.parametrize(("reason", "shown"), [("wrong list", "wrong list"), (None, None)])
async def test_why_a_job_was_cancelled_is_shown(
    app: Observatory, folder: Path, reason: str | None, shown: str | None
) -> None:
    @app.job("waits")
    async def waits() -> None:
        await asyncio.sleep(60)

    body = {} if reason is None else {"reason": reason}
    async with served(app, folder, grace_seconds=0.1) as system:
        queued = await system.submit("waits", delaySeconds=60)
        running = await system.submit("waits")
        await system.reached(running, "running")
        for job_id in (queued, running):
            await system.http.post(f"/jobs/{job_id}/cancel", json=body)
            job = await system.reached(job_id)
            assert (job["state"], job["cancelReason"]) == ("cancelled", shown)

        await system.http.post(f"/jobs/{queued}/retry")
        assert (await system.reached(queued, "running"))["cancelReason"] is None
