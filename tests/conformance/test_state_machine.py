"""The life of jobs driven at random through the store, beside a model a page long.

The clock stands (as far as the model is concerned) until a rule moves it by a minute; every delay
is 100 seconds, so nothing ever falls due in the instant it is looked at.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from conformance.benches import STORE_BENCHES, StoreBench
from conformance.making import (
    OTHER_WORKER,
    SOURCE,
    WORKER,
    ended,
    keyed,
    named,
    submission,
    without_zeros,
    worker,
)
from observatory.core.aggregates import Deltas, fold_batch
from observatory.core.errors import IllegalTransition, NotFound, WorkerLost
from observatory.core.event import encode_commit
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Commit, Transition
from observatory.core.job_type import JobType, Retry
from observatory.core.lifecycle import TERMINAL, TRANSITIONS, Move, OutcomeKind, State
from observatory.core.store import Accepted, JobFilter

T = TypeVar("T")

MINUTE = 60
DELAY_S = 100
BACKOFF = Retry(base=DELAY_S, factor=1, cap=DELAY_S, jitter=False)
LEASE_US = 30 * MICROSECONDS
CALLER = "caller.example:1:boot-a"
WORKERS = (WORKER, OTHER_WORKER)
MAX_ATTEMPTS = 2

delta = st.sampled_from([0, 0, 0, -1, 1])
"""How far a reference or an outcome is off the right attempt number."""


@dataclass
class Modelled:
    """What the model knows of a job; None of its fields is read back from the store."""

    state: State
    version: int = 1
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    due_s: int = 0
    finished_s: int = 0

    def enter(self, state: State, now_s: int) -> None:
        self.state = state
        self.version += 1
        if state is State.RUNNING:
            self.attempt += 1
        if state is State.RETRYING:
            self.due_s = now_s + DELAY_S
        if state in TERMINAL:
            self.finished_s = now_s
        if state is State.QUEUED:
            self.cancel_requested = False

    def end(self, outcome: OutcomeKind, now_s: int) -> None:
        """Its attempt ended like this."""
        state = State.FAILED
        if outcome is OutcomeKind.COMPLETED:
            state = State.COMPLETED
        elif outcome is OutcomeKind.CANCELLED:
            state = State.CANCELLED
        elif outcome is OutcomeKind.RELEASED:
            state = State.QUEUED
        elif outcome is OutcomeKind.LOST:
            self.crashes += 1
            state = State.FAILED if self.crashes == 3 else State.RETRYING
        else:
            self.failures += 1
            if outcome in (OutcomeKind.ERROR, OutcomeKind.TIMEOUT):
                state = State.FAILED if self.failures == MAX_ATTEMPTS else State.RETRYING
        if self.cancel_requested and state in (State.QUEUED, State.RETRYING):
            state = State.CANCELLED
        self.enter(state, now_s)


class StoreMachine(RuleBasedStateMachine):
    """The store and its model."""

    jobs = Bundle("jobs")

    def __init__(self, bench: StoreBench) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.bench = bench
        self.now_s = 0
        self.model: dict[str, Modelled] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.told: dict[str, list[Transition]] = {}
        self.numbers: list[int] = []
        self.sums = Deltas()
        self.seen_s: dict[str, int] = {}
        self.dead: set[str] = set()
        """Workers on record as lost."""
        self.pruned = False

    def run(self, awaitable: Awaitable[T]) -> T:
        async def call() -> T:
            return await awaitable

        return self.runner.run(call())

    def hear(self, commit: Commit | None, *jobs: str) -> None:
        """A commit told of these jobs and no others."""
        assert Counter(t.job for t in (commit.transitions if commit else ())) == Counter(jobs)
        if commit is not None:
            self.numbers.append(commit.number)
            fold_batch(encode_commit(commit, SOURCE), self.sums)
            for transition in commit.transitions:
                self.told.setdefault(transition.job, []).append(transition)

    @initialize()
    def start(self) -> None:
        self.run(self.bench.open())
        job_type = JobType(
            name="work", version=1, queue="default", max_attempts=MAX_ATTEMPTS, timeout_s=None,
            retry=BACKOFF, contract={},
        )  # fmt: skip
        self.run(self.bench.store.register_job_types([job_type]))
        for one in (CALLER, *WORKERS):
            self.run(self.bench.store.register_worker(worker(one)))
            self.seen_s[one] = 0

    # What users do

    @rule(target=jobs, later=st.lists(st.booleans(), min_size=1, max_size=4))
    def accept(self, later: list[bool]) -> Any:
        given = [
            submission(max_attempts=MAX_ATTEMPTS, delay_us=DELAY_S * MICROSECONDS if wait else None)
            for wait in later
        ]
        results, commit = self.run(self.bench.store.accept(given))
        assert results == [Accepted(s.id) for s in given]
        self.hear(commit, *(s.id for s in given))
        for one, wait in zip(given, later, strict=True):
            state = State.SCHEDULED if wait else State.QUEUED
            self.model[one.id] = Modelled(state, due_s=self.now_s + DELAY_S)
        return multiple(*(s.id for s in given))

    @rule(target=jobs, key=st.sampled_from("kl"), body=st.sampled_from("xy"))
    def accept_with_a_key(self, key: str, body: str) -> Any:
        given = keyed(key, body, max_attempts=MAX_ATTEMPTS)
        (result,), commit = self.run(self.bench.store.accept([given]))
        first, its_body = self.keys.setdefault(key, (given.id, body))
        assert result.job_id == first
        assert isinstance(result, Accepted) is (body == its_body)
        if first != given.id:
            self.hear(commit)
            return multiple()
        self.hear(commit, given.id)
        self.model[given.id] = Modelled(State.QUEUED)
        return given.id

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        known = self.model.get(job)
        if known is None or known.state in TERMINAL:
            with pytest.raises(NotFound if known is None else IllegalTransition):
                self.run(self.bench.store.cancel(job, None))
            return
        done, commit = self.run(self.bench.store.cancel(job, None))
        if known.state is State.RUNNING:
            known.cancel_requested = True
            self.hear(commit)
        else:
            known.enter(State.CANCELLED, self.now_s)
            self.hear(commit, job)
        assert (done.state, done.version) == (known.state, known.version)

    @rule(job=jobs)
    def requeue(self, job: str) -> None:
        known = self.model.get(job)
        if known is None or known.state not in (*TERMINAL, State.RETRYING):
            with pytest.raises(NotFound if known is None else IllegalTransition):
                self.run(self.bench.store.requeue(job))
            return
        version, commit = self.run(self.bench.store.requeue(job))
        known.failures = known.crashes = 0
        known.enter(State.QUEUED, self.now_s)
        self.hear(commit, job)
        assert version == known.version

    # What processors do

    @rule(
        named_jobs=st.lists(st.tuples(jobs, delta), min_size=1, max_size=4),
        by=st.sampled_from(WORKERS),
    )
    def claim(self, named_jobs: list[tuple[str, int]], by: str) -> None:
        wanted = {
            job: max(0, self.model[job].attempt + off) if job in self.model else 0
            for job, off in named_jobs
        }
        right = {
            job
            for job, attempt in wanted.items()
            if (known := self.model.get(job)) is not None
            and known.state is State.QUEUED
            and known.attempt == attempt
        }
        claim = self.bench.store.claim([named(*one) for one in wanted.items()], by)
        if by in self.dead:
            with pytest.raises(WorkerLost):
                self.run(claim)
            return
        claimed, commit = self.run(claim)
        assert {one.id for one in claimed} == right
        self.hear(commit, *right)
        for one in claimed:
            self.claimed(one.id, by)
            assert one.attempt == self.model[one.id].attempt

    def claimed(self, job: str, by: str) -> None:
        self.model[job].enter(State.RUNNING, self.now_s)
        self.model[job].worker = by

    @rule(job=jobs)
    def claim_by_all_at_once(self, job: str) -> None:
        known = self.model.get(job)
        reference = named(job, known.attempt if known else 0)

        async def race() -> list[Any]:
            claims = [self.bench.store.claim([reference], by) for by in WORKERS]
            return await asyncio.gather(*claims, return_exceptions=True)

        answers = dict(zip(WORKERS, self.run(race()), strict=True))
        refused = {by for by, answer in answers.items() if isinstance(answer, WorkerLost)}
        assert refused == self.dead
        given = {by: answer for by, answer in answers.items() if by not in refused}
        won = [by for by, (claimed, _) in given.items() if claimed]
        assert len(won) == (bool(given) and known is not None and known.state is State.QUEUED)
        for by, (claimed, commit) in given.items():
            self.hear(commit, *(one.id for one in claimed))
            for one in claimed:
                self.claimed(one.id, by)

    @rule(
        endings=st.lists(
            st.tuples(jobs, delta, st.sampled_from(OutcomeKind)), min_size=1, max_size=4
        ),
        foreign=st.sampled_from([False, False, False, True]),
        by=st.sampled_from(WORKERS),
    )
    def finish(self, endings: list[tuple[str, int, OutcomeKind]], foreign: bool, by: str) -> None:
        first = self.model.get(endings[0][0])
        if not foreign and first is not None and first.worker is not None:
            by = first.worker
        attempts, expected, over = [], [], []
        for job, off, outcome in endings:
            known = self.model.get(job)
            attempt = (known.attempt if known else 1) + off
            attempts.append(ended(job, attempt, outcome, retry=BACKOFF))
            mine = (
                known is not None
                and known.state is State.RUNNING
                and (known.attempt, known.worker) == (attempt, by)
            )
            expected.append(mine)
            if mine and known is not None:
                known.end(outcome, self.now_s)
                over.append(job)
        recorded, commit = self.run(self.bench.store.finish(attempts, by))
        assert recorded == expected
        self.hear(commit, *over)

    @rule(by=st.sampled_from(WORKERS))
    def beat(self, by: str) -> None:
        pulse = self.bench.store.heartbeat(by, 0, "active")
        assert pulse.known is (by in self.seen_s)
        assert set(pulse.cancel) == {
            (job, known.attempt)
            for job, known in self.model.items()
            if known.state is State.RUNNING and known.worker == by and known.cancel_requested
        }
        if pulse.known:
            self.seen_s[by] = self.now_s

    @rule(by=st.sampled_from(WORKERS))
    def come_on_record(self, by: str) -> None:
        self.run(self.bench.store.register_worker(worker(by)))
        self.seen_s[by] = self.now_s
        self.dead.discard(by)

    # What time and maintenance do

    @rule(minutes=st.integers(1, 3))
    def wait(self, minutes: int) -> None:
        self.run(self.bench.advance(minutes * MINUTE))
        self.now_s += minutes * MINUTE

    @rule()
    def promote(self) -> None:
        due = [
            job
            for job, known in self.model.items()
            if known.state in (State.SCHEDULED, State.RETRYING) and known.due_s <= self.now_s
        ]
        self.hear(self.run(self.bench.store.promote(1000)), *due)
        for job in due:
            self.model[job].enter(State.QUEUED, self.now_s)

    @rule()
    def rescue(self) -> None:
        dead = {by for by, seen_s in self.seen_s.items() if seen_s < self.now_s} - {CALLER}
        for by in dead:
            del self.seen_s[by]
        self.dead |= dead
        orphans = [
            job
            for job, known in self.model.items()
            if known.state is State.RUNNING and known.worker not in self.seen_s
        ]
        lost, commit = self.run(self.bench.store.rescue(CALLER, LEASE_US, 1000))
        assert {one.id for one in lost} == dead
        self.hear(commit, *orphans)
        for job in orphans:
            self.model[job].end(OutcomeKind.LOST, self.now_s)

    @rule()
    def prune(self) -> None:
        before = self.run(self.bench.store.now()) - 30 * MICROSECONDS
        over = [
            job
            for job, known in self.model.items()
            if known.state in TERMINAL and known.finished_s < self.now_s
        ]
        self.hear(self.run(self.bench.store.prune(before, 1000)), *over)
        self.pruned = self.pruned or bool(over)
        self.dead.clear()  # they are not on record any more
        for job in over:
            assert self.run(self.bench.store.job(job)) is None
            del self.model[job]

    @rule()
    def restart(self) -> None:
        self.run(self.bench.restart())

    # What must hold at all times

    @invariant()
    def store_and_model_agree(self) -> None:
        if not hasattr(self.bench, "store"):
            return  # not started yet
        listed = self.run(self.bench.store.list_jobs(JobFilter(), None, 200))
        assert len(self.model) > 200 or {job.id for job in listed} == set(self.model)
        for job in listed:
            known = self.model[job.id]
            assert (job.state, job.version) == (known.state, known.version)
            assert job.attempt == known.attempt
            assert (job.failures, job.crashes) == (known.failures, known.crashes)
            assert job.worker == known.worker

    @invariant()
    def the_sums_of_all_commits_are_the_states_of_all_jobs(self) -> None:
        states = Counter(("work", "default", known.state) for known in self.model.values())
        assert without_zeros(self.sums.states) == states

    def teardown(self) -> None:
        try:
            if hasattr(self.bench, "store"):
                self.check_record()
        finally:
            self.run(self.bench.close())
            self.runner.close()

    def check_record(self) -> None:
        assert self.numbers == list(range(1, len(self.numbers) + 1))
        for job, transitions in self.told.items():
            check_life(transitions)
            if job in self.model:
                assert self.run(self.bench.store.history(job)) == transitions
        snapshot = self.run(self.bench.store.snapshot())
        assert snapshot.deltas.states == without_zeros(self.sums.states)
        if not self.pruned:
            assert without_zeros(snapshot.deltas.series) == without_zeros(self.sums.series)


def check_life(transitions: list[Transition]) -> None:
    """What holds of every job's history, whatever happened to it."""
    assert [t.version for t in transitions] == list(range(1, len(transitions) + 1))
    assert transitions[0].previous is None
    for transition in transitions:
        assert TRANSITIONS[transition.previous][transition.move] == transition.state
    for earlier, later in pairwise(transitions):
        assert later.previous == earlier.state
        assert later.at >= earlier.at
        assert later.attempt == earlier.attempt + (later.move is Move.CLAIM)
    claims = [t.attempt for t in transitions if t.move is Move.CLAIM]
    assert claims == list(range(1, len(claims) + 1))
    outcomes = Counter(t.attempt for t in transitions if t.outcome is not None)
    assert all(number == 1 for number in outcomes.values())
    finished = claims if transitions[-1].state is not State.RUNNING else claims[:-1]
    assert sorted(outcomes) == finished


@pytest.mark.parametrize("backend", sorted(STORE_BENCHES))
def test_any_sequence_of_wishes_leaves_store_and_model_alike(
    backend: str, tmp_path: Path, empty_database: Path
) -> None:
    folders = count()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: StoreMachine(STORE_BENCHES[backend](tmp_path / str(next(folders)), empty_database)),
        settings=settings(max_examples=60, stateful_step_count=40),
    )
