"""What every store must tell of the whole: how long jobs took, what waits, who works."""

import pytest

from conformance.benches import StoreBench
from conformance.making import (
    OTHER_WORKER,
    WORKER,
    accept,
    all_published,
    claim,
    completed,
    ended,
    finish,
    folded,
    running,
    submission,
    worker,
)
from observatory.core.aggregates import ALL_TIME, COUNT
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Transition
from observatory.core.lifecycle import OutcomeKind
from observatory.core.store import Backlog, Store, Workforce

pytestmark = pytest.mark.anyio

MINUTE = 60 * MICROSECONDS


async def whole_time(store: Store, job: str) -> float | None:
    """The seconds that the last transition of a job tells."""
    last: Transition = (await store.history(job))[-1]
    return None if last.ready_at is None else (last.at - last.ready_at) / MICROSECONDS


def about(seconds: float) -> object:
    """Where the clock is the database's own, some time passes by itself."""
    return pytest.approx(seconds, abs=5)


async def test_a_job_is_measured_from_its_acceptance_over_all_its_attempts(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    job = await running(store)
    await store_bench.advance(60)
    await finish(store, ended(job, outcome=OutcomeKind.ERROR))
    assert await whole_time(store, job) is None
    await store.promote(10)
    await claim(store, job, 1)
    await store_bench.advance(60)
    await finish(store, ended(job, 2))

    assert await whole_time(store, job) == about(120)


async def test_a_delayed_job_is_measured_from_when_it_fell_due(store_bench: StoreBench) -> None:
    store = store_bench.store
    (job,) = await accept(store, submission(delay_us=MINUTE))
    await store_bench.advance(90)
    await store.promote(10)
    await claim(store, job)
    await finish(store, ended(job))

    assert await whole_time(store, job) == about(30)


async def test_a_job_that_ended_before_it_was_due_took_no_time(store: Store) -> None:
    (job,) = await accept(store, submission(delay_us=MINUTE))
    await store.cancel(job, None)

    assert await whole_time(store, job) is None


async def test_a_job_that_is_run_again_is_measured_anew(store_bench: StoreBench) -> None:
    store = store_bench.store
    job = await completed(store)
    await store_bench.advance(3600)
    await store.requeue(job)
    await store_bench.advance(30)
    await store.cancel(job, None)

    assert await whole_time(store, job) == about(30)


async def test_a_job_that_waits_for_a_retry_and_is_hurried_is_measured_as_before(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    job = await running(store)
    await finish(store, ended(job, outcome=OutcomeKind.ERROR))
    await store_bench.advance(60)
    await store.requeue(job)
    await store.cancel(job, None)

    assert await whole_time(store, job) == about(60)


async def test_only_attempts_whose_worker_died_count_as_lost(store: Store) -> None:
    await running(store, by=OTHER_WORKER)
    failed = await running(store)
    await finish(store, ended(failed, outcome=OutcomeKind.ERROR))
    await store.register_worker(worker())
    await store.rescue(WORKER, MINUTE, 10)

    sums = folded(await store.unpublished(0, 10))

    lost = {key: count for key, count in sums.series.items() if "lost" in key}
    assert lost == {(ALL_TIME, 0, "work", "default", "lost", COUNT): 1}


async def test_a_lost_run_has_no_time_as_nobody_knows_when_it_ended(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    await running(store, by=OTHER_WORKER)
    failed = await running(store)
    await finish(store, ended(failed, outcome=OutcomeKind.ERROR))
    await store_bench.advance(3600)
    await store.register_worker(worker())
    await store.rescue(WORKER, MINUTE, 10)

    told, recorded = folded(await store.unpublished(0, 10)), (await store.snapshot()).deltas

    for sums in (told, recorded):
        runs = {
            key[5]: n for key, n in sums.series.items() if key[0] == ALL_TIME and key[4] == "run"
        }
        assert sum(runs.values()) == 1, "that which failed"
        (took_us,) = [n for key, n in sums.series.items() if key[0] == 0 and key[4] == "run_us"]
        assert took_us < MINUTE


async def test_the_backlog_is_counted_and_its_oldest_told(store_bench: StoreBench) -> None:
    store = store_bench.store
    assert await store.outbox_backlog() == Backlog(0, None)
    await accept(store)
    since = (await store.unpublished(0, 1))[0].transitions[0].at
    await store_bench.advance(60)
    await accept(store)

    assert await store.outbox_backlog() == Backlog(2, since)
    await all_published(store)
    assert await store.outbox_backlog() == Backlog(0, None)


async def test_workers_are_counted_by_what_they_are_now(store_bench: StoreBench) -> None:
    store = store_bench.store
    names = [f"host.example:{n}:boot" for n in range(220)]
    assert await store.workforce(MINUTE) == Workforce(0, 0, 0, 0, 0)
    for name in names:
        await store.register_worker(worker(name, concurrency=4, running=0))
    await store_bench.advance(120)
    await store.register_worker(worker(WORKER, concurrency=4, running=3))
    await store.register_worker(worker(OTHER_WORKER, concurrency=4, running=2, state="draining"))
    await store.unregister_worker(names[0])

    assert await store.workforce(MINUTE) == Workforce(1, 1, 219, 5, 1)
    await store.rescue(WORKER, MINUTE, 10)
    assert await store.workforce(MINUTE) == Workforce(1, 1, 219, 5, 1)


async def test_a_pause_is_told_with_its_beginning(store_bench: StoreBench) -> None:
    store = store_bench.store
    await store.pause_queue("mail", True)
    since = await store.paused_queues()
    await store_bench.advance(60)
    await store.pause_queue("mail", True)

    assert await store.paused_queues() == since
    assert (await store.now() - since["mail"]) / MICROSECONDS == about(60)
