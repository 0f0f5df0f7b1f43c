"""What Prometheus is told, also while a backend is away."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from conformance.benches import SqliteBench
from conformance.making import accept, submission
from observatory.core.aggregates import Changes, Deltas, Mark, Position
from observatory.core.errors import SpineUnavailable, StoreUnavailable
from observatory.core.instant import MICROSECONDS
from observatory.core.lifecycle import State
from observatory.runtime.metrics import Exposition
from observatory.services.metrics_engine import jobs
from observatory.services.metrics_engine.exposition import SystemMetrics
from observatory.services.metrics_engine.follow import Follower
from services.embedding import Unreliable, bench
from services.scraping import Scraped

pytestmark = pytest.mark.anyio

HOSTILE = ('a"b', "a\\b", "a\nb", 'c"} 1\nobservatory_workers{state="x', "ü" * 5000, "")


def told(on: SqliteBench, **instead: Unreliable) -> Exposition:
    """The exposition of the system's metrics, on backends that may be others."""
    spine, aggregates = instead.get("spine", on.spine), instead.get("aggregates", on.aggregates)
    store = instead.get("store", on.store)
    follower = Follower(on.spine, on.store, on.aggregates)
    whole = SystemMetrics(store, spine, aggregates, follower, 15.0)  # type: ignore[arg-type]
    return Exposition(CollectorRegistry(), [], [whole.ask])


async def scraped(exposition: Exposition) -> Scraped:
    return Scraped((await exposition.render()).decode())


async def test_a_backend_that_is_away_takes_only_its_own_metrics_along(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        aggregates, spine, store = (Unreliable(b) for b in (on.aggregates, on.spine, on.store))
        exposition = told(on, aggregates=aggregates, spine=spine, store=store)
        everything = (await scraped(exposition)).own()

        async def without(backend: str) -> set[str]:
            found = await scraped(exposition)
            up = dict.fromkeys(("store", "spine", "aggregates"), 1.0) | {backend: 0.0}
            assert found.by("backend_up", "backend") == up
            return {name.removeprefix("observatory_") for name in everything - found.own()}

        aggregates.before("states", StoreUnavailable("away"))
        aggregates.before("changes", StoreUnavailable("away"))
        assert await without("aggregates") == {
            "jobs_in_state", "jobs_submitted_total", "jobs_finished_total", "job_attempts_total",
            "job_retries_total", "job_attempts_lost_total", "job_queue_wait_seconds",
            "job_execution_seconds", "job_end_to_end_seconds", "log_applied_offset",
            "projection_lag_messages",
        }  # fmt: skip

        spine.before("log_range", SpineUnavailable("away"))
        spine.before("dead_letters", SpineUnavailable("away"))
        gone = {"log_last_offset", "projection_lag_messages", "dead_letters"}
        assert await without("spine") == gone

        for method in ("outbox_backlog", "oldest_queued", "paused_queues", "workforce"):
            store.before(method, StoreUnavailable("away"))
        assert await without("store") == {
            "outbox_pending", "outbox_oldest_timestamp_seconds", "workers", "worker_slots",
            "oldest_ready_job_timestamp_seconds", "queue_paused_since_timestamp_seconds",
        }  # fmt: skip


def history(names: int, type: str = "t") -> Deltas:
    """Jobs in queues of which each has one more than the one before."""
    deltas = Deltas()
    at = 1_800_000_000 * MICROSECONDS
    for number in range(names):
        for _ in range(number + 1):
            deltas.move(type, f"q{number}", None, State.QUEUED)
            deltas.count(at, type, f"q{number}", "created")
            deltas.duration(at, type, f"q{number}", "wait", 1000 * (number + 1))
            deltas.duration_ever(type, f"q{number}", "end_to_end", 1000)
    return deltas


async def replace(on: SqliteBench, deltas: Deltas) -> None:
    epoch = (await on.spine.log_range()).epoch
    await on.aggregates.replace(Position(epoch, 0, {}), deltas)


async def test_a_scrape_is_bounded_whatever_queues_there_were(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SERIES_MAX", 2)
    async with bench(tmp_path, empty_database) as on:
        await replace(on, history(4))
        exposition = told(on)

        found = await scraped(exposition)
        weights = {"q3": 4, "q2": 3, "other": 3}
        assert found.by("jobs_in_state", "queue", state="queued") == weights
        assert found.by("jobs_submitted_total", "queue") == weights
        for histogram in ("job_queue_wait_seconds", "job_end_to_end_seconds"):
            assert found.by(f"{histogram}_count", "queue") == weights
        waited = found.value("job_queue_wait_seconds_sum", queue="other")
        assert waited == pytest.approx(0.001 + 2 * 0.002)
        buckets = found.by("job_queue_wait_seconds_bucket", "le", queue="q3")
        assert (buckets["0.0025"], buckets["0.005"], buckets["+Inf"]) == (0, 4, 4)

        # Whoever has had a name keeps it: a counter does not become another's.
        await replace(on, history(6))
        found = await scraped(exposition)
        assert found.by("jobs_submitted_total", "queue") == {"q3": 4, "q2": 3, "other": 14}


async def test_two_hundred_workers_and_types_cost_no_more_series_than_the_limits(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SERIES_MAX", 10)
    async with bench(tmp_path, empty_database) as on:
        exposition = told(on)
        await replace(on, history(10))
        before = (await scraped(exposition)).series()
        db = on.database
        for number in range(200):
            row = (f"host:{number}:boot", "host", number, 1, db.now(), "active", 4, 1, "[]", "[]")
            await db.write(
                lambda w, row=row: w.execute(  # type: ignore[misc]
                    "INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
                )
            )
        churned = history(10)
        for number in range(200):
            churned.move(f"unknown.{number}", "default", None, State.QUEUED)
            churned.count_ever(f"unknown.{number}", "default", "created")
        await replace(on, churned)

        first = await scraped(exposition)
        assert first.by("jobs_submitted_total", "job_type", queue="other") == {"other": 0}
        found = await scraped(exposition)

        assert found.by("workers", "state") == {"active": 200, "draining": 0, "stale": 0}
        assert found.by("worker_slots", "state") == {"busy": 200, "free": 600}
        assert found.by("jobs_submitted_total", "job_type", queue="other") == {"other": 200}
        of_one_pair = len(found.of("job_end_to_end_seconds_bucket", queue="other")) * 3 + 20
        assert found.series() <= before + of_one_pair


async def test_what_comes_later_begins_at_zero_so_that_a_rate_sees_it(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        exposition = told(on)
        await replace(on, history(2))
        known = await scraped(exposition)
        assert "new" not in known.by("jobs_submitted_total", "job_type", queue="fresh")
        both = history(2)
        both.count_ever("new", "fresh", "created")
        await replace(on, both)

        told_of_new = [
            (await scraped(exposition)).by("jobs_submitted_total", "job_type", queue="fresh")["new"]
            for _ in range(3)
        ]

        assert told_of_new == [0, 1, 1]
        # Another process that begins now tells what there is.
        anew = await scraped(told(on))
        assert anew.by("jobs_submitted_total", "job_type", queue="fresh") == {"new": 1}


async def test_hostile_label_values_are_told_as_they_are_and_break_nothing(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        deltas = Deltas()
        for name in HOSTILE:
            deltas.move(name, name, None, State.QUEUED)
            deltas.count_ever(name, name, "created")
        await replace(on, deltas)

        found = await scraped(told(on))

        assert found.by("jobs_submitted_total", "job_type") == dict.fromkeys(HOSTILE, 1.0)
        assert set(found.by("workers", "state")) == {"active", "draining", "stale"}


async def test_what_waits_and_what_is_paused_is_told_by_its_instant(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        found = await scraped(told(on))
        assert found.value("outbox_pending") == 0
        for name in ("outbox_oldest", "oldest_ready_job", "queue_paused_since"):
            assert found.kinds[f"observatory_{name}_timestamp_seconds"] == "gauge"
            assert found.of(f"{name}_timestamp_seconds") == []

        await accept(on.store, submission(queue="mail"), submission(queue="mail"))
        await on.store.pause_queue("mail", True)
        now_s = await on.now() / MICROSECONDS

        found = await scraped(told(on))
        assert found.value("outbox_pending") == 1
        for name, labels in (
            ("outbox_oldest", {}),
            ("oldest_ready_job", {"queue": "mail"}),
            ("queue_paused_since", {"queue": "mail"}),
        ):
            at = found.value(f"{name}_timestamp_seconds", **labels)
            assert at == pytest.approx(now_s, abs=60)


async def test_a_scrape_does_not_wait_for_a_backend_for_ever(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.runtime.metrics.ANSWER_WITHIN_S", 0.01)
    async with bench(tmp_path, empty_database) as on:
        spine = Unreliable(on.spine)
        spine.before("log_range", TimeoutError())

        found = await scraped(told(on, spine=spine))

        assert found.value("backend_up", backend="spine") == 0


async def test_counters_never_fall_and_never_tell_history_as_new(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        exposition = told(on)

        async def submitted(**of: str) -> float:
            return (await scraped(exposition)).value("jobs_submitted_total", **of)

        await replace(on, history(4))
        assert await submitted(queue="q3") == 4
        # Counted anew after some jobs were no longer kept.
        await replace(on, history(2))
        assert await submitted(queue="q3") == 4
        assert await submitted(queue="q1") == 2
        # What comes then is new; what is known again is not new a second time.
        more = history(2)
        more.count_ever("t", "q3", "created", amount=3)
        await replace(on, more)
        assert await submitted(queue="q3") == 7
        waited = (await scraped(exposition)).by("job_queue_wait_seconds_bucket", "le", queue="q3")
        assert waited["+Inf"] == 4


async def test_emptied_aggregates_are_not_told_as_zero(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        aggregates = Unreliable(on.aggregates)
        exposition = told(on, aggregates=aggregates)
        await replace(on, history(3))
        assert (await scraped(exposition)).value("jobs_submitted_total", queue="q2") == 3

        # As Redis answers when it has lost everything.
        aggregates.answer("states", ([], 0))
        aggregates.answer("changes", Changes(Mark("", 0), anew=True, buckets={}))
        found = await scraped(exposition)
        assert not found.of("observatory_jobs_submitted_total")
        assert not found.of("observatory_jobs_in_state")
        assert not found.of("observatory_log_applied_offset")

        aggregates.mended()
        assert (await scraped(exposition)).value("jobs_submitted_total", queue="q2") == 3
