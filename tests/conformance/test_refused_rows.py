"""A row that the database refuses is singled out, and takes none of its batch with it."""

import asyncio

import pytest

from conformance.benches import StoreBench
from conformance.making import WORKER, accept, ended, running, submission
from observatory.core.errors import Problem, RowRefused
from observatory.core.job import Commit, Submission
from observatory.core.lifecycle import State
from observatory.core.store import Accepted, KeyReused, Store
from observatory.runtime.gather import Gather
from observatory.services.processor.finish import Finisher

pytestmark = pytest.mark.anyio


class Commits:
    """Stands where the dispatcher does."""

    def __init__(self) -> None:
        self.put_in: list[Commit] = []

    def put(self, commit: Commit | None) -> None:
        if commit is not None:
            self.put_in.append(commit)


async def _states(store: Store, ids: list[str]) -> list[State]:
    found = [await store.job(id) for id in ids]
    return [job.state for job in found if job is not None]


async def test_a_row_that_is_refused_is_told_apart_from_a_store_that_is_away(store: Store) -> None:
    (taken,) = await accept(store)
    for bad in (submission(id=taken), submission(contract_version=1.5)):
        with pytest.raises(RowRefused) as refused:
            await store.accept([submission(), bad])
        assert not isinstance(refused.value, Problem), "services single out what is no Problem"
    assert await _states(store, [taken]) == [State.QUEUED]


async def test_submissions_that_wait_together_are_accepted_without_the_one_refused(
    store: Store,
) -> None:
    (taken,) = await accept(store)

    async def write(submissions: list[Submission]) -> list[Accepted | KeyReused]:
        results, _ = await store.accept(submissions)
        return results

    gather = Gather(write, 1000)
    good = [submission() for _ in range(9)]
    bad = submission(id=taken)
    given = [*good[:4], bad, *good[4:]]

    answers = await asyncio.gather(*(gather.add([one]) for one in given), return_exceptions=True)

    for one, answer in zip(given, answers, strict=True):
        if one is bad:
            assert isinstance(answer, RowRefused)
        else:
            assert answer == [Accepted(one.id)]
    assert await _states(store, [one.id for one in good]) == [State.QUEUED] * 9


async def test_outcomes_that_wait_together_are_recorded_without_the_one_refused(
    store_bench: StoreBench,
) -> None:
    store = store_bench.store
    ids = [await running(store) for _ in range(5)]
    await store_bench.occupy_history(ids[2], 3)
    commits = Commits()
    finisher = Finisher(store, commits, WORKER)

    for id in ids:
        finisher.put(ended(id))
    await asyncio.wait_for(finisher.settle(), 20)

    others = [id for id in ids if id != ids[2]]
    assert await _states(store, others) == [State.COMPLETED] * 4
    assert await _states(store, [ids[2]]) == [State.RUNNING], "left to be rescued"
    assert {t.job for commit in commits.put_in for t in commit.transitions} == set(others)
