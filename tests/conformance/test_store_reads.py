"""What every store must show."""

import pytest

from conformance.benches import PUBLISHER, StoreBench
from conformance.making import (
    OTHER_WORKER,
    WORKER,
    accept,
    claim,
    completed,
    ended,
    failed,
    finish,
    folded,
    new_id,
    running,
    submission,
    without_zeros,
    worker,
)
from observatory.core.failure import fingerprint
from observatory.core.instant import MICROSECONDS
from observatory.core.job import JobLogLine
from observatory.core.lifecycle import ErrorInfo, OutcomeKind, State
from observatory.core.store import LIST_MAX, JobFilter, Store

pytestmark = pytest.mark.anyio

HOUR = 3600


async def listed(store: Store, **where: object) -> list[str]:
    return [job.id for job in await store.list_jobs(JobFilter(**where), None, LIST_MAX)]  # type: ignore[arg-type]


async def found(store: Store, text: str, **where: object) -> list[str]:
    answer = await store.search_jobs(JobFilter(**where), text, None, LIST_MAX)  # type: ignore[arg-type]
    assert answer.reached is None
    return [job.id for job in answer.jobs]


async def test_a_job_that_is_not_there_is_none(store: Store) -> None:
    assert await store.job(new_id()) is None
    assert await store.history(new_id()) == []
    assert await store.job_logs(new_id(), 0, 10) == []


async def test_summaries_come_in_the_order_asked_for_without_their_documents(store: Store) -> None:
    first, second = await completed(store), await completed(store)

    summaries = await store.jobs([second, new_id(), first])

    assert [job.id for job in summaries] == [second, first]
    assert {(job.payload, job.result) for job in summaries} == {(None, None)}


# Lists


async def test_a_list_shows_the_newest_first_and_no_more_than_asked_for(store: Store) -> None:
    jobs = await accept(store, *(submission() for _ in range(5)))

    assert await listed(store) == jobs[::-1]
    assert [job.id for job in await store.list_jobs(JobFilter(), None, 2)] == jobs[:2:-1]


async def test_pages_show_every_job_once_while_new_ones_come(store: Store) -> None:
    jobs = await accept(store, *(submission() for _ in range(7)))

    seen: list[str] = []
    before = None
    while page := await store.list_jobs(JobFilter(), before, 3):
        seen += [job.id for job in page]
        before = page[-1].id
        await accept(store)

    assert seen == jobs[::-1]


async def test_each_filter_shows_its_jobs(store: Store) -> None:
    parent = new_id()
    plain, mail, other, family = await accept(
        store,
        submission("plain"),
        submission("mail", queue="mail"),
        submission(correlation_id="other"),
        submission(parent_id=parent),
    )
    mine, theirs = await running(store), await running(store, by=OTHER_WORKER)
    broken = await failed(store)
    everything = {plain, mail, other, family, mine, theirs, broken}

    assert await listed(store, type="plain") == [plain]
    assert await listed(store, queue="mail") == [mail]
    assert await listed(store, correlation_id="other") == [other]
    assert await listed(store, parent_id=parent) == [family]
    assert await listed(store, worker=OTHER_WORKER) == [theirs]
    assert await listed(store, states=(State.FAILED,)) == [broken]
    assert await listed(store, states=(State.RUNNING, State.FAILED)) == [broken, theirs, mine]
    assert await listed(store, states=(State.RUNNING,), worker=WORKER) == [mine]
    assert await listed(store, type="plain", queue="mail") == []
    alike = fingerprint("work", "ValueError", "it broke")
    assert await listed(store, error_fingerprint=alike) == [broken]
    assert set(await listed(store)) == everything


async def test_since_is_inclusive_and_until_is_not(store_bench: StoreBench) -> None:
    store = store_bench.store
    jobs = []
    for _ in range(3):
        jobs += await accept(store)
        await store_bench.advance(1)
    middle = await store.job(jobs[1])
    assert middle is not None

    assert await listed(store, since=middle.created_at) == [jobs[2], jobs[1]]
    assert await listed(store, until=middle.created_at) == [jobs[0]]
    assert await listed(store, since=middle.created_at, until=middle.created_at + 1) == [jobs[1]]


async def test_text_is_found_in_id_type_correlation_id_error_and_payload(store: Store) -> None:
    job, typed, paid = await accept(
        store,
        submission(correlation_id="haystack-4711"),
        submission("needle.thread"),
        submission(payload='{"where":"in the needlework, né ☃"}'),
    )
    message = await running(store)
    error = ErrorInfo("Broken", "the haystack has a needle")
    await finish(store, ended(message, 1, OutcomeKind.NOT_RETRYABLE, error=error))
    kind = await running(store)
    error = ErrorInfo("app.NeedleError: needle", "no")
    await finish(store, ended(kind, 1, OutcomeKind.NOT_RETRYABLE, error=error))

    assert await found(store, job[10:]) == [job]
    assert await found(store, "stack-47") == [job]
    assert await found(store, "needle") == [kind, message, paid, typed]
    assert await found(store, "né ☃") == [paid]
    assert await found(store, "needle", type="needle.thread") == [typed]
    assert await found(store, "absent") == []


async def test_a_search_says_how_far_it_came_and_goes_on_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in ("postgres", "sqlite"):
        monkeypatch.setattr(f"observatory.backends.{backend}.reads.SEARCHED_MAX", 4)
    jobs = await accept(store, *(submission(f"even.{n % 2}") for n in range(10)))

    first = await store.search_jobs(JobFilter(), "even.0", None, 10)
    assert ([job.id for job in first.jobs], first.reached) == ([jobs[8], jobs[6]], jobs[6])
    full = await store.search_jobs(JobFilter(), "even.0", None, 1)
    assert ([job.id for job in full.jobs], full.reached) == ([jobs[8]], jobs[8])
    last = await store.search_jobs(JobFilter(), "even.1", jobs[2], 10)
    assert ([job.id for job in last.jobs], last.reached) == ([jobs[1]], None)
    odd = await store.search_jobs(JobFilter(type="even.1"), "even.0", None, 10)
    assert (odd.jobs, odd.reached) == ([], jobs[3])
    gone = await store.search_jobs(JobFilter(type="even.1"), "even.0", odd.reached, 10)
    assert (gone.jobs, gone.reached) == ([], None)


async def test_text_means_itself_whatever_stands_in_it(store: Store) -> None:
    # Ids are searched too: a text of hexadecimal digits may be in one.
    percent, under, back, quote, plain = await accept(
        store,
        *(submission(payload=f'{{"v":"{v}"}}') for v in ("5% off", "a_c", r"a\\c", "it's", "5x off xyz")),
    )  # fmt: skip

    assert await found(store, "5% off") == [percent]
    assert await found(store, "%") == [percent]
    assert await found(store, "a_c") == [under]
    assert await found(store, "_") == [under]
    assert await found(store, "a\\") == [back]
    assert await found(store, "it's") == [quote]
    assert await found(store, "xyz") == [plain]
    assert await found(store, "' OR 1=1 --") == []


# Failures


async def test_failures_are_grouped_by_what_is_alike_in_them(store: Store) -> None:
    async def fail(message: str, outcome: OutcomeKind, **changes: object) -> str:
        job = await running(store, **changes)
        await finish(store, ended(job, 1, outcome, error=ErrorInfo("OSError", message)))
        return job

    a1 = await fail("no file 17", OutcomeKind.NOT_RETRYABLE, queue="q1")
    a2 = await fail("no file 18", OutcomeKind.ERROR, queue="q2")
    a3 = await fail("no file 19", OutcomeKind.NOT_RETRYABLE, queue="q1")
    b = await fail("disk full", OutcomeKind.NOT_RETRYABLE, queue="q1")
    c = await fail("disk full", OutcomeKind.NOT_RETRYABLE, type="other")
    await completed(store)

    groups = await store.failures(None, None, None, 10)

    counts = [(g.type, g.failed, g.retrying) for g in groups]
    assert counts[0] == ("work", 2, 1)
    assert sorted(counts[1:]) == [("other", 1, 0), ("work", 1, 0)]
    assert groups[0].fingerprint == fingerprint("work", "OSError", "no file 1")
    assert groups[0].error_type == "OSError"
    assert groups[0].message in {"no file 17", "no file 18", "no file 19"}
    assert groups[0].sample_job in {a1, a2, a3}
    assert groups[0].first_seen_at <= groups[0].last_seen_at
    assert [g.sample_job for g in await store.failures("other", None, None, 10)] == [c]
    assert {g.sample_job for g in await store.failures(None, "q1", None, 10)} == {a3, b}
    assert len(await store.failures(None, None, None, 1)) == 1


async def test_failures_before_an_instant_are_left_out(store_bench: StoreBench) -> None:
    store = store_bench.store
    await failed(store)
    await store_bench.advance(HOUR)
    since = await store.now()

    assert await store.failures(None, None, since, 10) == []
    await failed(store, type="later")
    assert [g.type for g in await store.failures(None, None, since, 10)] == ["later"]


async def test_a_failure_that_was_run_again_is_none_any_more(store: Store) -> None:
    job = await failed(store)
    await store.requeue(job)

    assert await store.failures(None, None, None, 10) == []


# Lines, queues, workers


async def test_lines_are_paged_by_their_position(store: Store) -> None:
    job, other = await running(store), await running(store)
    lines = [JobLogLine(job, 1, n, "info", f"line {n}", {"n": n}) for n in range(5)]
    for line in lines:
        await store.note([], [line, JobLogLine(other, 1, 0, "error", "other", {})], WORKER)

    seen, after = [], 0
    while page := await store.job_logs(job, after, 2):
        seen += page
        after = page[-1][0]

    assert [line for _, line in seen] == lines
    positions = [position for position, _ in seen]
    assert positions == sorted(set(positions))

    back, before = [], None
    while page := await store.job_logs(job, before, 2, newest_first=True):
        back += page
        before = page[-1][0]
    assert back == seen[::-1]


async def test_the_longest_waiting_job_of_each_queue_is_known(store_bench: StoreBench) -> None:
    store = store_bench.store
    assert await store.oldest_queued() == {}
    first, _, other = await accept(
        store, submission(queue="q1"), submission(queue="q2"), submission(queue="q3")
    )
    await store_bench.advance(5)
    second, _ = await accept(store, submission(queue="q1"), submission(queue="q2"))
    await accept(store, submission(queue="q4", delay_us=HOUR * MICROSECONDS))
    await claim(store, first)
    await claim(store, other)

    oldest = await store.oldest_queued()

    assert set(oldest) == {"q1", "q2"}
    waiting = await store.job(second)
    assert waiting is not None
    assert oldest["q1"] == waiting.queued_at
    assert oldest["q2"] < oldest["q1"]


async def test_workers_are_shown_newest_first_with_what_they_run(store: Store) -> None:
    old = worker(WORKER, started_at=1, queues=("a", "b"), job_types=("x", "y"))
    new = worker(OTHER_WORKER, started_at=2)
    for one in (old, new):
        await store.register_worker(one)

    shown = await store.workers()

    assert [one.id for one in shown] == [OTHER_WORKER, WORKER]
    assert (shown[1].queues, shown[1].job_types) == (("a", "b"), ("x", "y"))
    assert (shown[1].host, shown[1].pid, shown[1].concurrency) == ("alpha.example", 101, 4)


async def test_facts_for_readiness_name_the_backend(store: Store) -> None:
    facts = await store.check()

    assert facts["backend"]
    assert facts["schema"]


# The whole record


async def test_a_snapshot_of_nothing_is_empty(store: Store) -> None:
    snapshot = await store.snapshot()

    assert (snapshot.deltas.states, snapshot.deltas.series, snapshot.numbers) == ({}, {}, {})


async def test_a_snapshot_equals_the_sum_of_all_commits(store_bench: StoreBench) -> None:
    store, other = store_bench.store, await store_bench.store_of("boot-b")
    await accept(store, *(submission(queue=f"q{n % 2}") for n in range(4)))
    await accept(other, submission("other", delay_us=1), submission(delay_us=HOUR * MICROSECONDS))
    await completed(other, type="other")
    await failed(store)
    for outcome in OutcomeKind:
        job = await running(store, type=f"type.{outcome}")
        await store_bench.advance(0.25)
        await finish(store, ended(job, 1, outcome))
    asked = await running(store, type="asked")
    await store.cancel(asked, None)
    await finish(other, ended(asked, 1, OutcomeKind.ERROR))
    await store_bench.advance(60)
    await store.promote(100)
    await running(other, by=OTHER_WORKER)
    await store.register_worker(worker())
    await store_bench.advance(60)
    await other.rescue(WORKER, MICROSECONDS, 100)
    await store.requeue(await completed(store))
    await store.cancel((await accept(store))[0], "no")

    commits = await store.unpublished(0, 10_000)
    snapshot = await store.snapshot()

    sums = folded(commits)
    assert snapshot.deltas.states == without_zeros(sums.states)
    assert without_zeros(snapshot.deltas.series) == without_zeros(sums.series)
    assert snapshot.numbers == {
        publisher: max(c.number for c in commits if c.publisher == publisher)
        for publisher in {c.publisher for c in commits}
    }
    assert {PUBLISHER, "boot-b"} <= snapshot.numbers.keys()


async def test_a_snapshot_counts_the_states_that_pruning_left(store_bench: StoreBench) -> None:
    store = store_bench.store
    await completed(store)
    await accept(store)
    await store_bench.advance(HOUR)
    await store.prune(await store.now(), 10)

    commits = await store.unpublished(0, 100)
    snapshot = await store.snapshot()

    assert snapshot.deltas.states == without_zeros(folded(commits).states)
    assert snapshot.deltas.states == {("work", "default", State.QUEUED): 1}
    assert snapshot.numbers == {PUBLISHER: commits[-1].number}


async def test_the_queues_of_jobs_on_record_are_told_by_name(store: Store) -> None:
    assert await store.queues(10) == []
    jobs = [submission(queue=queue) for queue in ("b", "a", "c", "a", "B")]
    await accept(store, *jobs)
    await completed(store, queue="d")

    assert await store.queues(10) == ["B", "a", "b", "c", "d"]
    assert await store.queues(2) == ["B", "a"]
