"""What every store must do for workers, maintenance and the outbox."""

import pytest

from conformance.benches import PUBLISHER, StoreBench
from conformance.making import (
    OTHER_WORKER,
    WORKER,
    accept,
    all_published,
    claim,
    completed,
    ended,
    failed,
    finish,
    named,
    running,
    submission,
    worker,
)
from observatory.core.errors import WorkerLost
from observatory.core.instant import MICROSECONDS
from observatory.core.job import JobLogLine
from observatory.core.job_type import JobType, Retry
from observatory.core.lifecycle import Move, OutcomeKind, State
from observatory.core.store import JobFilter, Store

pytestmark = pytest.mark.anyio

HOUR = 3600
LEASE_US = 15 * MICROSECONDS
THIRD_WORKER = "gamma.example:303:boot-c"


async def state(store: Store, job_id: str) -> State | None:
    job = await store.job(job_id)
    return None if job is None else job.state


# Promoting


async def test_what_is_due_is_promoted_and_nothing_else(store_bench: StoreBench) -> None:
    store = store_bench.store
    soon, later = await accept(
        store,
        submission(delay_us=60 * MICROSECONDS),
        submission(delay_us=2 * HOUR * MICROSECONDS),
    )
    retrying = await running(store)
    retry = Retry(base=60, jitter=False)
    await finish(store, ended(retrying, 1, OutcomeKind.ERROR, retry=retry))
    cancelled, _ = await accept(store, submission(delay_us=1), submission())
    await store.cancel(cancelled, None)
    assert await store.promote(10) is None

    await store_bench.advance(HOUR)
    commit = await store.promote(10)

    assert commit is not None
    assert {t.job for t in commit.transitions} == {soon, retrying}
    for transition in commit.transitions:
        assert (transition.move, transition.state) == (Move.PROMOTE, State.QUEUED)
        assert await state(store, transition.job) is State.QUEUED
        assert (await store.history(transition.job))[-1] == transition
    assert await state(store, later) is State.SCHEDULED
    assert await store.promote(10) is None


async def test_the_longest_due_are_promoted_first_and_no_more_than_asked_for(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    jobs = await accept(store, *(submission(delay_us=d * MICROSECONDS) for d in (3, 1, 4, 2)))
    await store_bench.advance(HOUR)

    first, second, third = [await store.promote(2) for _ in range(3)]

    assert first is not None
    assert second is not None
    assert {t.job for t in first.transitions} == {jobs[1], jobs[3]}
    assert {t.job for t in second.transitions} == {jobs[0], jobs[2]}
    assert third is None


async def test_the_store_tells_when_the_next_job_falls_due(store: Store) -> None:
    assert await store.next_due() is None
    now = await store.now()
    await accept(store, *(submission(scheduled_at=now + n * HOUR * MICROSECONDS) for n in (2, 1)))

    assert await store.next_due() == now + HOUR * MICROSECONDS


async def test_a_promoted_retry_is_claimed_by_its_next_number(store: Store) -> None:
    job = await running(store)
    await finish(store, ended(job, 1, OutcomeKind.ERROR))
    commit = await store.promote(1)

    assert commit is not None
    assert commit.transitions[0].attempt == 1
    assert (await claim(store, job, 1)).attempt == 2


# Workers


async def test_a_heartbeat_keeps_a_worker_alive_and_brings_its_cancellations(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    await store.register_worker(worker())
    mine, theirs = await running(store), await running(store, by=OTHER_WORKER)
    await running(store)
    for job in (mine, theirs):
        await store.cancel(job, None)
    await store_bench.advance(10)

    pulse = store.heartbeat(WORKER, 2, "draining")

    assert pulse.known
    assert pulse.cancel == ((mine, 1),)
    (record,) = await store.workers()
    assert (record.running, record.state) == (2, "draining")
    assert await store.now() - record.seen_at < 5 * MICROSECONDS


async def test_the_runs_of_a_worker_are_told(store: Store) -> None:
    assert await store.runs(WORKER) == []
    first, second = await running(store), await running(store)
    again = await running(store)
    await finish(store, ended(again, outcome=OutcomeKind.RELEASED))
    await claim(store, again, 1)
    await running(store, by=OTHER_WORKER)
    await completed(store)

    assert sorted(await store.runs(WORKER)) == sorted([(first, 1), (second, 1), (again, 2)])


async def test_a_worker_declared_dead_can_claim_nothing_until_it_is_on_record_again(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    await store.register_worker(worker())
    (job,) = await accept(store)
    await store_bench.advance(60)
    ((dead,), _) = await store.rescue(OTHER_WORKER, LEASE_US, 10)
    assert dead.id == WORKER

    with pytest.raises(WorkerLost):
        await store.claim([named(job)], WORKER)

    assert await state(store, job) is State.QUEUED
    await store.register_worker(worker())
    assert store.heartbeat(WORKER, 0, "draining").known
    assert (await claim(store, job)).id == job

    (left,) = await accept(store)
    await store.unregister_worker(WORKER)
    with pytest.raises(WorkerLost):
        await store.claim([named(left)], WORKER)


async def test_a_worker_that_is_not_on_record_is_told_so(store: Store) -> None:
    assert not store.heartbeat(WORKER, 0, "active").known


async def test_the_runs_of_a_worker_not_seen_for_a_lease_end_as_lost(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    for one in (WORKER, OTHER_WORKER, THIRD_WORKER):
        await store.register_worker(worker(one))
    dead, alive, callers = [
        await running(store, by=by) for by in (OTHER_WORKER, THIRD_WORKER, WORKER)
    ]
    await store_bench.advance(60)
    store.heartbeat(THIRD_WORKER, 1, "active")

    lost, commit = await store.rescue(WORKER, LEASE_US, 100)

    assert [record.id for record in lost] == [OTHER_WORKER]
    assert commit is not None
    (transition,) = commit.transitions
    assert (transition.job, transition.outcome) == (dead, OutcomeKind.LOST)
    assert (transition.move, transition.reason) == (Move.SCHEDULE_RETRY, "lost")
    job = await store.job(dead)
    assert job is not None
    assert (job.state, job.crashes, job.failures) == (State.RETRYING, 1, 0)
    assert job.error is not None
    assert OTHER_WORKER in job.error.message
    assert await state(store, alive) is State.RUNNING
    assert await state(store, callers) is State.RUNNING
    assert await store.rescue(WORKER, LEASE_US, 100) == ([], None)


async def test_a_worker_that_was_declared_dead_is_told_and_its_outcome_comes_too_late(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    await store.register_worker(worker(OTHER_WORKER))
    job = await running(store, by=OTHER_WORKER)
    await store_bench.advance(60)
    await store.rescue(WORKER, LEASE_US, 100)

    assert not store.heartbeat(OTHER_WORKER, 1, "active").known
    assert await store.finish([ended(job)], OTHER_WORKER) == ([False], None)
    assert {w.id: w.state for w in await store.workers()} == {OTHER_WORKER: "lost"}
    await store.register_worker(worker(OTHER_WORKER))
    assert store.heartbeat(OTHER_WORKER, 0, "active").known


async def test_the_runs_of_a_worker_nobody_knows_are_rescued(store: Store) -> None:
    await store.register_worker(worker())
    job = await running(store, by=OTHER_WORKER)

    lost, commit = await store.rescue(WORKER, LEASE_US, 100)

    assert lost == []
    assert commit is not None
    assert [t.job for t in commit.transitions] == [job]


async def test_the_runs_of_the_caller_are_never_rescued(store_bench: StoreBench) -> None:
    store = store_bench.store
    unregistered = await running(store)
    assert await store.rescue(WORKER, LEASE_US, 100) == ([], None)

    await store.register_worker(worker())
    await store_bench.advance(HOUR)
    assert await store.rescue(WORKER, LEASE_US, 100) == ([], None)
    assert await state(store, unregistered) is State.RUNNING


async def test_the_run_of_a_draining_worker_that_died_is_rescued(store_bench: StoreBench) -> None:
    store = store_bench.store
    await store.register_worker(worker(OTHER_WORKER))
    store.heartbeat(OTHER_WORKER, 1, "draining")
    job = await running(store, by=OTHER_WORKER)
    assert await store.rescue(WORKER, LEASE_US, 100) == ([], None)

    await store_bench.advance(60)
    lost, _ = await store.rescue(WORKER, LEASE_US, 100)

    assert [record.id for record in lost] == [OTHER_WORKER]
    assert await state(store, job) is State.RETRYING


async def test_a_worker_that_left_in_good_order_is_not_found_dead(store_bench: StoreBench) -> None:
    store = store_bench.store
    await store.register_worker(worker(OTHER_WORKER))
    await store.unregister_worker(OTHER_WORKER)
    await store_bench.advance(60)

    assert await store.rescue(WORKER, LEASE_US, 100) == ([], None)
    assert {w.id: w.state for w in await store.workers()} == {OTHER_WORKER: "stopped"}


async def test_a_rescued_job_waits_as_its_job_type_says(store: Store) -> None:
    retry = Retry(base=500, factor=1, cap=500, jitter=False)
    job_type = JobType(
        name="work", version=1, queue="default", max_attempts=3, timeout_s=None, retry=retry,
        contract={},
    )  # fmt: skip
    await store.register_job_types([job_type])
    await running(store, by=OTHER_WORKER)

    _, commit = await store.rescue(WORKER, LEASE_US, 100)

    assert commit is not None
    (transition,) = commit.transitions
    assert transition.scheduled_at == transition.at + 500 * MICROSECONDS


async def test_no_more_runs_are_rescued_than_asked_for(store: Store) -> None:
    for _ in range(5):
        await running(store, by=OTHER_WORKER)

    sizes = []
    while (answer := await store.rescue(WORKER, LEASE_US, 2))[1] is not None:
        sizes.append(len(answer[1].transitions))

    assert sizes == [2, 2, 1]


async def test_a_job_asked_to_end_is_cancelled_when_its_worker_dies(store: Store) -> None:
    job = await running(store, by=OTHER_WORKER)
    await store.cancel(job, None)

    await store.rescue(WORKER, LEASE_US, 100)

    assert await state(store, job) is State.CANCELLED


# Leading


async def test_one_worker_leads_until_it_stops_renewing(store_bench: StoreBench) -> None:
    store = store_bench.store
    for one in (WORKER, OTHER_WORKER):
        await store.register_worker(worker(one))

    assert await store.lead(WORKER, LEASE_US)
    assert not await store.lead(OTHER_WORKER, LEASE_US)
    await store_bench.advance(10)
    assert await store.lead(WORKER, LEASE_US)
    await store_bench.advance(10)
    assert not await store.lead(OTHER_WORKER, LEASE_US)
    await store_bench.advance(10)
    assert await store.lead(OTHER_WORKER, LEASE_US)
    assert not await store.lead(WORKER, LEASE_US)


async def test_a_leader_that_left_is_replaced_at_once(store: Store) -> None:
    for one in (WORKER, OTHER_WORKER):
        await store.register_worker(worker(one))
    assert await store.lead(WORKER, HOUR * MICROSECONDS)

    await store.unregister_worker(WORKER)

    assert await store.lead(OTHER_WORKER, LEASE_US)


# The outbox


async def test_commits_are_numbered_without_gaps_and_stay_until_published(store: Store) -> None:
    job = await running(store)
    commit = await finish(store, ended(job))

    left = await store.unpublished(0, 100)

    assert store.publisher == PUBLISHER
    assert [(c.publisher, c.number) for c in left] == [(PUBLISHER, n) for n in (1, 2, 3)]
    assert left[-1] == commit
    assert [t for c in left for t in c.transitions] == await store.history(job)
    assert (await store.outbox_backlog()).commits == 3
    await store.published([1, 3])
    assert [c.number for c in await store.unpublished(0, 100)] == [2]
    assert (await store.outbox_backlog()).commits == 1


async def test_what_changes_nothing_takes_no_number(store: Store) -> None:
    job = await running(store)
    await store.claim([named(job)], WORKER)
    await store.finish([ended(job, 5)], WORKER)
    await store.cancel(job, None)
    await store.promote(10)
    await store.prune(0, 10)
    await store.note([], [], WORKER)

    commit = await finish(store, ended(job))

    assert commit.number == 3


async def test_each_publisher_counts_its_own_commits(store_bench: StoreBench) -> None:
    ours, theirs = store_bench.store, await store_bench.store_of("boot-b")
    await accept(ours)
    job = await running(theirs)
    await finish(ours, ended(job))

    left = await ours.unpublished(0, 100)

    assert sorted((c.publisher, c.number) for c in left) == [
        (PUBLISHER, 1), (PUBLISHER, 2), ("boot-b", 1), ("boot-b", 2),
    ]  # fmt: skip
    for publisher in (PUBLISHER, "boot-b"):
        numbers = [c.number for c in left if c.publisher == publisher]
        assert numbers == sorted(numbers), "those of each publisher come in order"
    await ours.published([1, 2], "boot-b")
    assert {c.publisher for c in await ours.unpublished(0, 100)} == {PUBLISHER}


async def test_the_outbox_and_the_numbers_outlive_the_process(store_bench: StoreBench) -> None:
    job = await running(store_bench.store)
    before = await store_bench.store.unpublished(0, 10)

    await store_bench.restart()

    assert await store_bench.store.unpublished(0, 10) == before
    commit = await finish(store_bench.store, ended(job))
    assert commit.number == 3


async def test_a_young_commit_is_not_taken_for_one_left_behind(store_bench: StoreBench) -> None:
    store = store_bench.store
    await accept(store)
    assert await store.unpublished(10 * MICROSECONDS, 10) == []

    await store_bench.advance(60)

    assert len(await store.unpublished(10 * MICROSECONDS, 10)) == 1


async def test_no_more_commits_are_returned_than_asked_for(store: Store) -> None:
    for _ in range(5):
        await accept(store)

    assert [c.number for c in await store.unpublished(0, 3)] == [1, 2, 3]


# What the reconciler asks


async def test_queued_jobs_are_told_by_age_in_id_order(store_bench: StoreBench) -> None:
    store = store_bench.store
    jobs = await accept(store, *(submission(queue="q", priority="high") for _ in range(5)))
    released = await running(store)
    await finish(store, ended(released, outcome=OutcomeKind.LOST))
    await store.promote(1)
    await running(store)
    await store_bench.advance(60)
    middle = await store.now()
    await store_bench.advance(60)
    await accept(store)
    await all_published(store)

    first = await store.queued(middle, "", 4)
    rest = await store.queued(middle, first[-1].job, 4)

    assert [t.job for t in first + rest] == [*jobs, released]
    assert {(t.queue, t.priority, t.state) for t in first} == {("q", "high", State.QUEUED)}
    assert [t.attempt for t in first + rest] == [0, 0, 0, 0, 0, 1]
    assert not rest[-1].suspect, "one death is hardly its fault"
    assert not first[0].suspect


# Pruning


async def test_pruning_takes_what_ended_before_and_tells_so(store_bench: StoreBench) -> None:
    store = store_bench.store
    old = [await completed(store), await failed(store), (await accept(store))[0]]
    await store.cancel(old[2], None)
    line = JobLogLine(old[0], 1, 1, "info", "a line", {})
    await store.note([], [line], WORKER)
    (again,) = [await completed(store)]
    await store.requeue(again)
    kept = [again, await running(store), (await accept(store))[0]]
    kept += await accept(store, submission(delay_us=1000 * HOUR * MICROSECONDS))
    await store_bench.advance(HOUR)
    before = await store.now()
    kept.append(await completed(store))

    commit = await store.prune(before, 100)

    assert commit is not None
    assert {t.job for t in commit.transitions} == set(old)
    for transition in commit.transitions:
        assert (transition.move, transition.state) == (Move.PRUNE, None)
        assert transition.previous in (State.COMPLETED, State.FAILED, State.CANCELLED)
    assert (await store.unpublished(0, 1000))[-1] == commit
    for job in old:
        assert await store.job(job) is None
        assert await store.history(job) == []
        assert await store.job_logs(job, 0, 10) == []
    assert {job.id for job in await store.list_jobs(JobFilter(), None, 100)} == set(kept)
    assert await store.prune(before, 100) is None


async def test_a_pruned_version_follows_the_last(store_bench: StoreBench) -> None:
    store = store_bench.store
    job = await completed(store)
    await store_bench.advance(HOUR)

    commit = await store.prune(await store.now(), 1)

    assert commit is not None
    assert [(t.job, t.version) for t in commit.transitions] == [(job, 4)]


async def test_the_oldest_are_pruned_first_and_no_more_than_asked_for(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    jobs = []
    for _ in range(3):
        jobs.append(await completed(store))
        await store_bench.advance(1)

    pruned = []
    while (commit := await store.prune(await store.now(), 1)) is not None:
        pruned += [t.job for t in commit.transitions]

    assert pruned == jobs


async def test_a_new_job_never_gets_the_documents_of_a_pruned_one(store_bench: StoreBench) -> None:
    store = store_bench.store
    old = await completed(store)
    await store.note([], [JobLogLine(old, 1, 1, "info", "old", {})], WORKER)
    await store_bench.advance(HOUR)
    await store.prune(await store.now(), 10)

    (new,) = await accept(store, submission(payload='{"new":true}'))

    job = await store.job(new)
    assert job is not None
    assert (job.payload, job.result) == ('{"new":true}', None)
    assert len(await store.history(new)) == 1
    assert await store.job_logs(new, 0, 10) == []


async def test_commits_that_wait_are_told_by_their_numbers(store_bench: StoreBench) -> None:
    store, other = store_bench.store, await store_bench.store_of("boot-b")
    for _ in range(4):
        await accept(store)
        await accept(other)
    assert await store.published_numbers() == {}
    await store.published([2])
    await other.published([1, 2, 3, 4])

    assert [c.number for c in await store.outbox(PUBLISHER, 0, 99)] == [1, 3, 4]
    assert [c.number for c in await store.outbox(PUBLISHER, 1, 4)] == [3]
    assert await store.outbox(PUBLISHER, 1, 4) == [
        c for c in await store.unpublished(0, 99) if c.number == 3
    ]
    assert await store.outbox("boot-b", 0, 99) == []
    assert await store.published_numbers() == {"boot-b": 4}


async def test_the_numbers_of_processes_long_gone_are_forgotten(store_bench: StoreBench) -> None:
    store, other = store_bench.store, await store_bench.store_of("boot-b")
    third = await store_bench.store_of("boot-c")
    await accept(other)
    await accept(third)
    await other.published([1])
    await store_bench.advance(91 * 24 * HOUR)
    await accept(store)
    await store.published([1])

    await store.prune(await store.now() - 7 * 24 * HOUR * MICROSECONDS, 10)

    assert (await store.snapshot(0)).numbers == {PUBLISHER: 1, "boot-c": 1}
    await third.published([1])
    await store.prune(await store.now() - 7 * 24 * HOUR * MICROSECONDS, 10)
    assert await store.published_numbers() == {PUBLISHER: 1}
