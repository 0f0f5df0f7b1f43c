"""Finishing: an outcome is written until the store has it, and never takes another with it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conformance.benches import SqliteBench
from conformance.making import OTHER_WORKER, WORKER, ended, running
from observatory.core.errors import StoreUnavailable
from observatory.core.job import FinishedAttempt, Job
from observatory.core.lifecycle import State
from observatory.runtime.dispatch import Dispatcher
from observatory.services.processor.finish import Finisher
from services.embedding import Unreliable, bench

pytestmark = pytest.mark.anyio

SOURCE = "/observatory/test/1"


class Refusing(Unreliable):
    """A store that takes no outcome with this result, whatever comes with it."""

    result: str | None = "unstorable"

    def __getattr__(self, name: str) -> Any:
        finish = super().__getattr__(name)
        if name != "finish":
            return finish

        async def refusing(attempts: list[FinishedAttempt], worker: str) -> Any:
            if any(attempt.result == self.result for attempt in attempts):
                raise ValueError("invalid byte sequence")
            return await finish(attempts, worker)

        return refusing


@pytest.fixture
async def on(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SqliteBench]:
    monkeypatch.setattr("observatory.services.processor.finish._PAUSE_AFTER_ERROR_S", 0.001)
    async with bench(tmp_path, empty_database) as opened:
        yield opened


def finisher(on: SqliteBench, store: Any = None) -> Finisher:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)
    return Finisher(store or on.store, dispatcher, WORKER)


async def jobs(on: SqliteBench, *ids: str) -> list[Job]:
    found = [await on.store.job(id) for id in ids]
    return [job for job in found if job is not None]


async def test_outcomes_that_come_together_are_one_commit(on: SqliteBench) -> None:
    ids = [await running(on.store) for _ in range(5)]
    before = (await on.store.outbox_backlog()).commits
    finishing = finisher(on)

    for id in ids:
        finishing.put(ended(id))
    await finishing.settle()

    assert {job.state for job in await jobs(on, *ids)} == {State.COMPLETED}
    assert (await on.store.outbox_backlog()).commits == before + 1
    assert finishing.stale == 0


async def test_outcomes_that_follow_closely_share_a_commit_and_the_first_does_not_wait(
    on: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.processor.finish._COMPANY_S", 60)
    first, *others = [await running(on.store) for _ in range(4)]
    finishing = finisher(on)

    finishing.put(ended(first))
    async with asyncio.timeout(10):
        while finishing.pending:
            await asyncio.sleep(0.001)
    recorded = (await on.store.outbox_backlog()).commits
    for id in others:
        finishing.put(ended(id))
        await asyncio.sleep(0.02)
    waiting = {job.state for job in await jobs(on, *others)}
    async with asyncio.timeout(10):
        await finishing.settle()

    assert [job.state for job in await jobs(on, first)] == [State.COMPLETED]
    assert waiting == {State.RUNNING}
    assert {job.state for job in await jobs(on, *others)} == {State.COMPLETED}
    assert (await on.store.outbox_backlog()).commits == recorded + 1


async def test_an_outcome_long_after_another_is_recorded_at_once(
    on: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await running(on.store) for _ in range(2)]
    finishing = finisher(on)

    monkeypatch.setattr("observatory.services.processor.finish._COMPANY_S", 0.05)
    finishing.put(ended(first))
    await asyncio.sleep(0.1)
    finishing.put(ended(second))
    # Recorded before it could have waited for company, which is as long as nobody would sit through.
    monkeypatch.setattr("observatory.services.processor.finish._COMPANY_S", 60)
    async with asyncio.timeout(10):
        while finishing.pending:
            await asyncio.sleep(0.001)

    assert {job.state for job in await jobs(on, first, second)} == {State.COMPLETED}


async def test_an_outcome_waits_for_a_store_that_is_not_available(on: SqliteBench) -> None:
    id = await running(on.store)
    store = Unreliable(on.store)
    store.before("finish", *(StoreUnavailable("gone") for _ in range(3)))
    finishing = finisher(on, store)

    finishing.put(ended(id))
    await finishing.settle()

    assert [job.state for job in await jobs(on, id)] == [State.COMPLETED]
    assert store.calls.count("finish") == 4


async def test_an_outcome_of_which_nothing_is_known_is_recorded_once(on: SqliteBench) -> None:
    id = await running(on.store)
    store = Unreliable(on.store)
    store.after("finish", StoreUnavailable("the answer was lost"))
    finishing = finisher(on, store)

    finishing.put(ended(id))
    await finishing.settle()

    assert [(job.state, job.version) for job in await jobs(on, id)] == [(State.COMPLETED, 3)]


async def test_an_outcome_that_comes_too_late_is_counted_and_changes_nothing(
    on: SqliteBench,
) -> None:
    mine, theirs = await running(on.store), await running(on.store, by=OTHER_WORKER)
    finishing = finisher(on)

    finishing.put(ended(theirs))
    finishing.put(ended(mine))
    await finishing.settle()

    assert finishing.stale == 1
    assert [job.state for job in await jobs(on, mine, theirs)] == [State.COMPLETED, State.RUNNING]


async def test_an_outcome_the_store_refuses_is_singled_out_and_ends_its_job(
    on: SqliteBench,
) -> None:
    ids = [await running(on.store) for _ in range(7)]
    finishing = finisher(on, Refusing(on.store))

    for n, id in enumerate(ids):
        finishing.put(ended(id, result="unstorable" if n == 3 else "1"))
    await finishing.settle()

    found = await jobs(on, *ids)
    assert [job.state for job in found].count(State.COMPLETED) == 6
    assert found[3].state is State.FAILED
    assert found[3].error is not None
    assert found[3].error.type == "UnrecordableOutcome"


async def test_a_store_that_refuses_everything_does_not_stop_what_comes_later(
    on: SqliteBench,
) -> None:
    ids = [await running(on.store) for _ in range(2)]
    store = Unreliable(on.store)
    store.before("finish", ValueError("no"), ValueError("never"))
    finishing = finisher(on, store)

    finishing.put(ended(ids[0]))
    await finishing.settle()
    finishing.put(ended(ids[1]))
    await finishing.settle()

    assert (await jobs(on, ids[1]))[0].state is State.COMPLETED


async def test_a_finisher_with_nothing_to_do_settles_at_once(on: SqliteBench) -> None:
    await finisher(on).settle()


async def test_an_outcome_that_was_recorded_though_the_answer_was_lost_is_not_stale(
    on: SqliteBench,
) -> None:
    id, late = await running(on.store), await running(on.store, by=OTHER_WORKER)
    store = Unreliable(on.store)
    store.after("finish", StoreUnavailable("nobody knows"))
    finishing = finisher(on, store)
    finishing.put(ended(id))
    finishing.put(ended(late))
    await finishing.settle()

    assert {job.state for job in await jobs(on, id)} == {State.COMPLETED}
    assert finishing.stale == 1, "only the one that was another's"
    assert finishing.pending == set()


async def test_a_span_tells_what_was_recorded_though_the_answer_was_lost(on: SqliteBench) -> None:
    class Told:
        states: ClassVar[list[State | None]] = []

        def recorded(self, state: State | None) -> None:
            self.states.append(state)

    id, late = await running(on.store), await running(on.store, by=OTHER_WORKER)
    store = Unreliable(on.store)
    store.after("finish", StoreUnavailable("nobody knows"))
    finishing = finisher(on, store)
    for outcome in (ended(id), ended(late)):
        finishing.expect(outcome, Told())  # type: ignore[arg-type]
        finishing.put(outcome)
    await finishing.settle()

    assert Told.states == [State.COMPLETED, None]
