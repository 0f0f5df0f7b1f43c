"""What every store must do where jobs change. Liveness and reads have suites of their own."""

import asyncio
from dataclasses import dataclass

import pytest

from conformance.benches import StoreBench
from conformance.making import (
    AT_ONCE,
    OTHER_WORKER,
    WORKER,
    accept,
    all_published,
    claim,
    completed,
    ended,
    failed,
    finish,
    keyed,
    named,
    new_id,
    running,
    submission,
)
from observatory.core.errors import (
    IllegalTransition,
    NotFound,
    ObservatoryError,
    StoreUnavailable,
)
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Job, JobLogLine, ProgressReport, Transition
from observatory.core.job_type import JobType, Retry
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State
from observatory.core.store import Accepted, JobFilter, KeyReused, Store

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True)
class Record:
    """All that is kept of a job, to see that nothing of it changed."""

    job: Job
    history: list[Transition]

    @classmethod
    async def of(cls, store: Store, job_id: str) -> "Record":
        job = await store.job(job_id)
        assert job is not None
        return cls(job, await store.history(job_id))

    @property
    def moves(self) -> list[Move]:
        return [transition.move for transition in self.history]


# Accepting


async def test_an_accepted_job_can_be_read_at_once(store: Store) -> None:
    given = submission(
        "email.send",
        queue="mail",
        priority="high",
        max_attempts=7,
        timeout_s=2.5,
        contract_version=3,
        parent_id=new_id(),
    )
    before = await store.now()

    (job_id,) = await accept(store, given)

    job = await store.job(job_id)
    assert job is not None
    for field in ("id", "type", "queue", "priority", "max_attempts", "timeout_s", "payload"):
        assert getattr(job, field) == getattr(given, field), field
    assert (job.contract_version, job.parent_id) == (3, given.parent_id)
    assert (job.state, job.version, job.attempt) == (State.QUEUED, 1, 0)
    assert (job.failures, job.crashes) == (0, 0)
    assert before <= job.created_at <= await store.now()
    assert job.queued_at == job.created_at
    assert job.result is job.error is job.started_at is job.finished_at is job.worker is None


async def test_results_come_in_the_order_of_the_submissions(store: Store) -> None:
    given = [submission() for _ in range(1000)]

    results, commit = await store.accept(given)

    assert [r.job_id for r in results] == [s.id for s in given]
    assert commit is not None
    assert [t.job for t in commit.transitions] == [s.id for s in given]


async def test_a_payload_is_kept_as_the_text_it_came_as(store: Store) -> None:
    text = '{"z":1.0,"a":10000000000000000000000.5,"é":"☃\\u0001\\"","e":1e-7,"z2":[]}'

    (job_id,) = await accept(store, submission(payload=text))

    job = await store.job(job_id)
    assert job is not None
    assert job.payload == text
    assert (await claim(store, job_id)).payload == text


async def test_the_same_key_and_body_again_name_the_first_job(store: Store) -> None:
    (job,) = await accept(store, keyed("k", "body"))

    results, commit = await store.accept([keyed("k", "body")])

    assert results == [Accepted(job, replayed=True)]
    assert commit is None


async def test_the_same_key_twice_in_one_batch_makes_one_job(store: Store) -> None:
    first, second, other = keyed("k", "body"), keyed("k", "body"), submission()

    results, commit = await store.accept([first, second, other])

    assert results == [Accepted(first.id), Accepted(first.id, replayed=True), Accepted(other.id)]
    assert commit is not None
    assert [t.job for t in commit.transitions] == [first.id, other.id]
    assert await store.job(second.id) is None


async def test_the_same_key_with_another_body_is_refused(store: Store) -> None:
    (job,) = await accept(store, keyed("k", "body"))

    results, commit = await store.accept([keyed("k", "another")])

    assert results == [KeyReused(job)]
    assert commit is None


async def test_a_key_is_refused_for_the_second_of_two_bodies_in_one_batch(store: Store) -> None:
    first, second = keyed("k", "body"), keyed("k", "another")

    results, _ = await store.accept([first, second])

    assert results == [Accepted(first.id), KeyReused(first.id)]
    assert await store.job(second.id) is None


async def test_two_holders_of_one_key_never_meet(store: Store) -> None:
    mine = keyed("k", "body", idempotency_scope="ann")
    theirs = keyed("k", "another", idempotency_scope="bob")

    await accept(store, mine)
    results, _ = await store.accept([theirs])

    assert results == [Accepted(theirs.id)]


async def test_concurrent_submissions_under_one_key_make_one_job(store: Store) -> None:
    given = [keyed("k", "body") for _ in range(10)]

    answers = await asyncio.gather(*(store.accept([s]) for s in given))

    results = [result for (result,), _ in answers]
    assert len({result.job_id for result in results}) == 1
    assert sum(isinstance(r, Accepted) and not r.replayed for r in results) == 1
    assert len(await store.list_jobs(JobFilter(), None, 100)) == 1


async def test_a_key_outlives_its_job_for_a_day_and_no_more(store_bench: StoreBench) -> None:
    store = store_bench.store
    first = keyed("k", "body")
    await accept(store, first)
    await claim(store, first.id)
    await finish(store, ended(first.id))
    await store_bench.advance(HOUR)
    await store.prune(await store.now(), 10)

    results, _ = await store.accept([keyed("k", "body")])
    assert results == [Accepted(first.id, replayed=True)]

    await store_bench.advance(DAY)
    await store.prune(await store.now(), 10)
    later = keyed("k", "body")
    results, _ = await store.accept([later])
    assert results == [Accepted(later.id)]


async def test_a_job_due_later_is_scheduled_and_one_past_due_is_queued(store: Store) -> None:
    now = await store.now()
    later, past = now + HOUR * MICROSECONDS, now - HOUR * MICROSECONDS

    jobs = await accept(store, submission(scheduled_at=later), submission(scheduled_at=past))

    scheduled, queued = [await Record.of(store, job) for job in jobs]
    assert (scheduled.job.state, scheduled.job.scheduled_at) == (State.SCHEDULED, later)
    assert scheduled.job.queued_at is None
    assert scheduled.moves == [Move.DEFER]
    assert queued.job.state is State.QUEUED
    assert queued.moves == [Move.ACCEPT]


async def test_a_delay_is_counted_by_the_clock_of_the_store(store_bench: StoreBench) -> None:
    await store_bench.advance(HOUR)
    before = await store_bench.store.now()

    (job_id,) = await accept(store_bench.store, submission(delay_us=5 * MICROSECONDS))

    job = await store_bench.store.job(job_id)
    assert job is not None
    assert job.scheduled_at is not None
    assert 0 <= job.scheduled_at - before - 5 * MICROSECONDS < 10 * MICROSECONDS


async def test_a_batch_is_recorded_whole_or_not_at_all(store: Store) -> None:
    (taken,) = await accept(store)
    good = keyed("k", "body")

    with pytest.raises(ObservatoryError):
        await store.accept([good, submission(id=taken)])

    assert await store.job(good.id) is None
    results, commit = await store.accept([good])
    assert results == [Accepted(good.id)]
    assert commit is not None
    assert commit.number == 2, "what was rolled back must leave no gap in the numbers"


# Claiming


async def test_a_claim_makes_a_queued_job_this_workers(store: Store) -> None:
    (job_id,) = await accept(store, submission("work", queue="mail", timeout_s=9, max_attempts=5))

    claimed, commit = await store.claim([named(job_id)], WORKER)

    (mine,) = claimed
    assert (mine.id, mine.type, mine.queue, mine.attempt) == (job_id, "work", "mail", 1)
    assert (mine.max_attempts, mine.timeout_s, mine.correlation_id) == (5, 9, "correlation")
    assert commit is not None
    (transition,) = commit.transitions
    assert (transition.move, transition.version, transition.attempt) == (Move.CLAIM, 2, 1)
    record = await Record.of(store, job_id)
    assert (record.job.state, record.job.worker, record.job.attempt) == (State.RUNNING, WORKER, 1)
    assert record.job.started_at == transition.at
    assert transition.since == record.job.queued_at
    assert record.history[-1] == transition


async def test_a_repeated_or_stale_or_early_reference_claims_nothing(store: Store) -> None:
    job = await running(store)
    await finish(store, ended(job, outcome=OutcomeKind.RELEASED))
    (queued,) = await accept(store)
    before = [await Record.of(store, one) for one in (job, queued)]
    wrong = [named(job, 0), named(job, 2), named(queued, 1), named(new_id(), 0)]

    for references in [*([one] for one in wrong), wrong]:
        assert await store.claim(references, OTHER_WORKER) == ([], None)

    assert [await Record.of(store, one) for one in (job, queued)] == before


async def test_a_reference_to_a_job_that_is_not_queued_claims_nothing(store: Store) -> None:
    (scheduled,) = await accept(store, submission(delay_us=HOUR * MICROSECONDS))
    (cancelled,) = await accept(store)
    await store.cancel(cancelled, None)
    under_way = await running(store)
    over = await completed(store)
    references = [named(scheduled), named(cancelled), named(under_way, 1), named(over, 1)]

    assert await store.claim(references, WORKER) == ([], None)


async def test_a_stale_reference_takes_nothing_from_the_right_one_beside_it(store: Store) -> None:
    for order in (0, 1):
        job = await running(store)
        await finish(store, ended(job, outcome=OutcomeKind.RELEASED))
        references = [named(job, 0), named(job, 1)]

        claimed, _ = await store.claim(references[:: -1 if order else 1], WORKER)

        assert [(one.id, one.attempt) for one in claimed] == [(job, 2)]


async def test_one_job_named_twice_in_one_claim_starts_once(store: Store) -> None:
    (job,) = await accept(store)

    claimed, commit = await store.claim([named(job), named(job)], WORKER)

    assert [one.attempt for one in claimed] == [1]
    assert commit is not None
    assert len(commit.transitions) == 1


async def test_of_workers_that_claim_at_once_one_wins(store: Store) -> None:
    jobs = await accept(store, *(submission() for _ in range(20)))
    references = [named(job) for job in jobs]
    workers = [f"alpha.example:{n}:boot" for n in range(8)]

    answers = await asyncio.gather(*(store.claim(references, worker) for worker in workers))

    won = [job.id for claimed, _ in answers for job in claimed]
    assert sorted(won) == sorted(jobs)


async def test_what_a_claim_took_whose_answer_was_lost_is_given_once_more(store: Store) -> None:
    mine, theirs, queued, ended_one, again = await accept(store, *(submission() for _ in range(5)))
    first = [await claim(store, job) for job in (mine, ended_one, again)]
    await claim(store, theirs, by=OTHER_WORKER)
    await finish(store, ended(ended_one), ended(again, outcome=OutcomeKind.RELEASED))
    await claim(store, again, 1)
    references = [named(job) for job in (queued, theirs, mine, ended_one, again, new_id())]
    before = await store.unpublished(0, 100)

    found = await store.reclaim(references, WORKER)

    assert found == first[:1], "as the claim would have given it"
    assert await store.reclaim(references, WORKER) == found
    assert await store.reclaim([], WORKER) == []
    assert await store.unpublished(0, 100) == before, "nothing changed"


# Finishing


async def test_a_completed_attempt_keeps_its_result(store: Store) -> None:
    job_id = await running(store)

    commit = await finish(store, ended(job_id, result='{"rows":[1,2.50]}'))

    record = await Record.of(store, job_id)
    assert (record.job.state, record.job.version) == (State.COMPLETED, 3)
    assert record.job.result == '{"rows":[1,2.50]}'
    assert record.job.finished_at == record.history[-1].at
    assert record.history[-1] == commit.transitions[0]
    assert record.history[-1].since == record.job.started_at
    assert [t.version for t in record.history] == [1, 2, 3]
    assert record.moves == [Move.ACCEPT, Move.CLAIM, Move.COMPLETE]
    assert [t.previous for t in record.history] == [None, State.QUEUED, State.RUNNING]


@pytest.mark.parametrize("outcome", list(OutcomeKind))
async def test_a_late_or_foreign_writer_changes_nothing(store: Store, outcome: OutcomeKind) -> None:
    first = await running(store, max_attempts=9)
    await finish(store, ended(first, outcome=OutcomeKind.RELEASED))
    await claim(store, first, 1, by=OTHER_WORKER)
    over, waiting = await completed(store), (await accept(store))[0]
    records = [await Record.of(store, job) for job in (first, over, waiting)]
    late = [
        (ended(first, 1, outcome), WORKER),  # the attempt it had
        (ended(first, 2, outcome), WORKER),  # an attempt that is another's
        (ended(first, 1, outcome), OTHER_WORKER),  # a number that has passed
        (ended(first, 3, outcome), OTHER_WORKER),  # a number yet to come
        (ended(over, 1, outcome), WORKER),  # a second outcome
        (ended(waiting, 0, outcome), WORKER),
        (ended(new_id(), 1, outcome), WORKER),
    ]

    for attempt, worker in late:
        assert await store.finish([attempt], worker) == ([False], None)

    assert [await Record.of(store, job) for job in (first, over, waiting)] == records


async def test_of_two_outcomes_in_one_batch_the_first_counts(store: Store) -> None:
    job_id = await running(store)

    recorded, commit = await store.finish(
        [ended(job_id, result="1"), ended(job_id, outcome=OutcomeKind.ERROR)], WORKER
    )

    assert recorded == [True, False]
    assert commit is not None
    assert len(commit.transitions) == 1
    record = await Record.of(store, job_id)
    assert (record.job.state, record.job.result) == (State.COMPLETED, "1")


async def test_a_late_outcome_takes_no_other_of_its_batch_with_it(store: Store) -> None:
    mine, theirs = await running(store), await running(store, by=OTHER_WORKER)

    recorded, commit = await store.finish([ended(theirs), ended(mine), ended(new_id())], WORKER)

    assert recorded == [False, True, False]
    assert commit is not None
    assert [t.job for t in commit.transitions] == [mine]


async def test_of_writers_that_finish_at_once_one_wins(store: Store) -> None:
    job = await running(store)

    answers = await asyncio.gather(
        *(store.finish([ended(job, result=str(n))], WORKER) for n in range(8))
    )

    assert sum(recorded == [True] for recorded, _ in answers) == 1
    assert len((await Record.of(store, job)).history) == 3


@pytest.mark.parametrize("outcome", [OutcomeKind.ERROR, OutcomeKind.TIMEOUT])
async def test_a_failed_attempt_waits_for_its_next(store: Store, outcome: OutcomeKind) -> None:
    job = await running(store)
    retry = Retry(base=10, factor=3, cap=1000, jitter=False)

    await finish(store, ended(job, 1, outcome, retry=retry))

    record = await Record.of(store, job)
    last = record.history[-1]
    assert (record.job.state, record.job.failures, record.job.crashes) == (State.RETRYING, 1, 0)
    assert (last.move, last.reason, last.outcome) == (Move.SCHEDULE_RETRY, outcome, outcome)
    assert last.scheduled_at == record.job.scheduled_at == last.at + 10 * MICROSECONDS
    assert record.job.finished_at is None


async def test_attempts_that_all_fail_end_the_job(store: Store) -> None:
    job = await running(store, max_attempts=3)
    for attempt in (1, 2):
        await finish(store, ended(job, attempt, OutcomeKind.ERROR))
        await store.promote(10)
        await claim(store, job, attempt)

    await finish(store, ended(job, 3, OutcomeKind.TIMEOUT))

    record = await Record.of(store, job)
    assert (record.job.state, record.job.failures) == (State.FAILED, 3)
    assert record.history[-1].reason == "attempts_exhausted"
    assert [t.attempt for t in record.history if t.move is Move.CLAIM] == [1, 2, 3]
    assert [t.version for t in record.history] == list(range(1, 10))


@pytest.mark.parametrize("outcome", [OutcomeKind.NOT_RETRYABLE, OutcomeKind.UNSERIALISABLE])
async def test_what_trying_again_would_not_help_fails_at_once(
    store: Store, outcome: OutcomeKind
) -> None:
    job = await running(store)

    await finish(store, ended(job, 1, outcome))

    record = await Record.of(store, job)
    assert record.job.state is State.FAILED
    assert (record.history[-1].reason, record.history[-1].outcome) == ("not_retryable", outcome)


async def test_a_released_job_is_queued_again_and_charged_nothing(store: Store) -> None:
    job = await running(store, max_attempts=1)

    commit = await finish(store, ended(job, outcome=OutcomeKind.RELEASED))

    record = await Record.of(store, job)
    assert (record.job.state, record.job.attempt) == (State.QUEUED, 1)
    assert (record.job.failures, record.job.crashes) == (0, 0)
    assert record.job.queued_at == commit.transitions[0].at
    assert (await claim(store, job, 1)).attempt == 2


async def test_a_job_that_kills_three_workers_is_poison(store: Store) -> None:
    job = await running(store, max_attempts=1)
    for attempt in (1, 2):
        commit = await finish(store, ended(job, attempt, OutcomeKind.LOST))
        assert commit.transitions[0].suspect is (attempt == 2), "one death is hardly its fault"
        promoted = await store.promote(10)
        assert promoted is not None
        assert promoted.transitions[0].suspect is (attempt == 2), "the next message must tell"
        await all_published(store)
        (queued,) = await store.queued(await store.now() + 1, "", 10)
        assert queued.suspect is (attempt == 2)
        assert (await claim(store, job, attempt)).crashes == attempt

    await finish(store, ended(job, 3, OutcomeKind.LOST))

    record = await Record.of(store, job)
    assert (record.job.state, record.job.crashes, record.job.failures) == (State.FAILED, 3, 0)
    assert record.history[-1].reason == "poison"


async def test_crashes_and_failures_are_counted_apart(store: Store) -> None:
    job = await running(store, max_attempts=2)
    outcomes = [OutcomeKind.LOST, OutcomeKind.ERROR, OutcomeKind.LOST]
    for attempt, outcome in enumerate(outcomes, 1):
        await finish(store, ended(job, attempt, outcome))
        await store.promote(10)
        await claim(store, job, attempt)

    record = await Record.of(store, job)
    assert (record.job.state, record.job.failures, record.job.crashes) == (State.RUNNING, 1, 2)


async def test_an_error_is_kept_whole_and_gone_once_the_job_went_well(store: Store) -> None:
    job_id = await running(store)
    error = ErrorInfo("app.Broken", "x" * 3000, "Traceback …\n" + "y" * 20_000)
    await finish(store, ended(job_id, 1, OutcomeKind.ERROR, error=error))

    assert (await Record.of(store, job_id)).job.error == error
    (summary,) = await store.jobs([job_id])
    assert summary.error is not None
    assert summary.error.type == "app.Broken"

    await store.promote(1)
    await claim(store, job_id, 1)
    await finish(store, ended(job_id, 2))
    assert (await Record.of(store, job_id)).job.error is None


async def test_a_job_that_was_put_off_still_tells_when_it_was_due(store_bench: StoreBench) -> None:
    store = store_bench.store
    due = await store.now() + HOUR * MICROSECONDS
    (job_id,) = await accept(store, submission(scheduled_at=due))
    await store_bench.advance(2 * HOUR)
    await store.promote(1)
    await claim(store, job_id)

    await finish(store, ended(job_id))

    assert (await Record.of(store, job_id)).job.scheduled_at == due


async def test_a_run_that_ended_well_has_even_where_its_end_was_asked_for(store: Store) -> None:
    job = await running(store)
    await store.cancel(job, None)

    await finish(store, ended(job))

    assert (await Record.of(store, job)).job.state is State.COMPLETED


@pytest.mark.parametrize("outcome", [OutcomeKind.ERROR, OutcomeKind.LOST, OutcomeKind.RELEASED])
async def test_a_run_to_be_repeated_is_cancelled_where_that_was_asked_for(
    store: Store, outcome: OutcomeKind
) -> None:
    job = await running(store)
    await store.cancel(job, None)

    await finish(store, ended(job, 1, outcome))

    record = await Record.of(store, job)
    assert record.job.state is State.CANCELLED
    assert record.history[-1].reason == "requested"
    assert record.job.finished_at is not None
    assert (record.history[-1].move, record.history[-1].outcome) == (Move.CANCEL, outcome)


# Operating


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RETRYING])
async def test_a_waiting_job_is_cancelled_at_once(store: Store, state: State) -> None:
    if state is State.RETRYING:
        job = await running(store)
        await finish(store, ended(job, 1, OutcomeKind.ERROR))
    else:
        delay_us = HOUR * MICROSECONDS if state is State.SCHEDULED else None
        (job,) = await accept(store, submission(delay_us=delay_us))
    version = (await Record.of(store, job)).job.version

    done, commit = await store.cancel(job, "no longer wanted")

    assert (done.state, done.version, done.requested_at) == (State.CANCELLED, version + 1, None)
    record = await Record.of(store, job)
    assert (record.job.state, record.job.version) == (State.CANCELLED, version + 1)
    assert record.job.finished_at is not None
    assert commit is not None
    assert record.history[-1] == commit.transitions[0]
    assert record.history[-1].reason == "no longer wanted"


async def test_a_running_job_is_asked_to_end_and_goes_on_until_it_does(store: Store) -> None:
    job = await running(store)

    first, commit = await store.cancel(job, "enough")
    again, _ = await store.cancel(job, "more than enough")

    assert commit is None
    assert (first.state, first.version) == (State.RUNNING, 2)
    assert first.requested_at is not None
    assert again.requested_at == first.requested_at
    record = await Record.of(store, job)
    assert record.job.cancel_requested_at == first.requested_at
    assert len(record.history) == 2
    await finish(store, ended(job, outcome=OutcomeKind.CANCELLED))
    record = await Record.of(store, job)
    assert record.job.state is State.CANCELLED
    assert record.history[-1].reason == "enough"


@pytest.mark.parametrize("make", [completed, failed])
async def test_a_terminal_job_cannot_be_cancelled(store: Store, make) -> None:  # type: ignore[no-untyped-def]
    job = await make(store)
    before = await Record.of(store, job)

    with pytest.raises(IllegalTransition):
        await store.cancel(job, None)

    assert await Record.of(store, job) == before


async def test_a_job_that_is_not_there_can_neither_be_cancelled_nor_run_again(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.cancel(new_id(), None)
    with pytest.raises(NotFound):
        await store.requeue(new_id())


@pytest.mark.parametrize("state", [*State])
async def test_only_a_job_that_neither_waits_nor_runs_is_run_again(
    store: Store, state: State
) -> None:
    delay_us = HOUR * MICROSECONDS if state is State.SCHEDULED else None
    (job,) = await accept(store, submission(delay_us=delay_us))
    if state is State.CANCELLED:
        await store.cancel(job, None)
    elif state not in (State.SCHEDULED, State.QUEUED):
        await claim(store, job)
    ending = {
        State.RETRYING: OutcomeKind.ERROR,
        State.FAILED: OutcomeKind.NOT_RETRYABLE,
        State.COMPLETED: OutcomeKind.COMPLETED,
    }
    if state in ending:
        await finish(store, ended(job, 1, ending[state]))
    before = await Record.of(store, job)
    assert before.job.state is state

    if state in (State.SCHEDULED, State.QUEUED, State.RUNNING):
        with pytest.raises(IllegalTransition):
            await store.requeue(job)
        assert await Record.of(store, job) == before
        return

    version, commit = await store.requeue(job)
    record = await Record.of(store, job)
    assert version == record.job.version == before.job.version + 1
    assert (record.job.state, record.job.finished_at) == (State.QUEUED, None)
    assert (record.job.attempt, record.job.failures) == (before.job.attempt, 0)
    assert commit.transitions == (record.history[-1],)
    assert record.history[-1].move is Move.REQUEUE_BY_OPERATOR


async def test_a_job_run_again_has_its_whole_budget_and_new_attempt_numbers(store: Store) -> None:
    job = await running(store, max_attempts=2)
    for attempt in (1, 2):
        await finish(store, ended(job, attempt, OutcomeKind.LOST))
        await store.promote(1)
        await claim(store, job, attempt)
    await finish(store, ended(job, 3, OutcomeKind.LOST))  # poison

    _, commit = await store.requeue(job)

    assert not commit.transitions[0].suspect
    mine = await claim(store, job, 3)
    assert (mine.attempt, mine.failures, mine.crashes) == (4, 0, 0)
    await finish(store, ended(job, 4, OutcomeKind.ERROR))
    assert (await Record.of(store, job)).job.state is State.RETRYING


async def test_an_old_wish_to_cancel_does_not_meet_the_next_life(store: Store) -> None:
    job = await running(store)
    await store.cancel(job, "enough")
    await finish(store, ended(job))
    await store.requeue(job)
    await claim(store, job, 1)

    assert (await Record.of(store, job)).job.cancel_requested_at is None
    await store.cancel(job, None)
    await finish(store, ended(job, 2, OutcomeKind.CANCELLED))
    assert (await Record.of(store, job)).history[-1].reason == "requested"


async def test_progress_and_lines_are_kept_of_a_run_that_is_still_owned(store: Store) -> None:
    job_id = await running(store)
    line = JobLogLine(job_id, 1, 7, "info", "half way", {"rows": 10, "who": "ann", "ok": None})

    await store.note([ProgressReport(job_id, 1, 5, 0.5, "half")], [line], WORKER)

    job = (await Record.of(store, job_id)).job
    assert job.progress is not None
    assert (job.progress.at, job.progress.fraction, job.progress.message) == (5, 0.5, "half")
    assert [kept for _, kept in await store.job_logs(job_id, 0, 10)] == [line]


async def test_progress_and_lines_of_a_run_that_is_anothers_are_dropped(store: Store) -> None:
    job_id = await running(store)
    await finish(store, ended(job_id, outcome=OutcomeKind.RELEASED))
    await claim(store, job_id, 1, by=OTHER_WORKER)

    for attempt in (1, 2):
        report = ProgressReport(job_id, attempt, 5, 0.5, "half")
        await store.note([report], [JobLogLine(job_id, attempt, 7, "info", "late", {})], WORKER)

    assert (await Record.of(store, job_id)).job.progress is None
    assert await store.job_logs(job_id, 0, 10) == []


async def test_the_progress_of_one_attempt_is_not_shown_for_the_next(store: Store) -> None:
    job_id = await running(store)
    await store.note([ProgressReport(job_id, 1, 5, 0.9, None)], [], WORKER)
    await finish(store, ended(job_id, outcome=OutcomeKind.RELEASED))

    await claim(store, job_id, 1)

    assert (await Record.of(store, job_id)).job.progress is None


async def test_a_newer_registration_of_a_job_type_replaces_the_older(store: Store) -> None:
    def job_type(version: int) -> JobType:
        return JobType(
            name="work",
            version=version,
            queue="default",
            max_attempts=3,
            timeout_s=1.5,
            retry=AT_ONCE,
            contract={"type": "object", "properties": {"n": {"type": "integer"}}},
        )

    await store.register_job_types([job_type(1)])
    await store.register_job_types([job_type(2)])

    assert await store.job_types() == [job_type(2)]


async def test_a_closed_store_says_that_it_is_unavailable(store_bench: StoreBench) -> None:
    store = store_bench.store
    await store_bench.close()

    with pytest.raises(StoreUnavailable):
        await store.accept([submission()])
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_a_queue_is_paused_and_resumed_once(store_bench: StoreBench) -> None:
    store = store_bench.store
    assert await store.paused_queues() == {}
    assert await store.pause_queue("mail", True)
    assert not await store.pause_queue("mail", True)
    assert await store.pause_queue("a.b-c", True)
    await store_bench.restart()
    store = store_bench.store
    assert list(await store.paused_queues()) == ["a.b-c", "mail"]
    assert await store.pause_queue("mail", False)
    assert not await store.pause_queue("mail", False)
    assert list(await store.paused_queues()) == ["a.b-c"]
