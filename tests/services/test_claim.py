"""Claiming: messages are settled once their jobs are owned, and no fault on the way loses one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conformance.benches import SqliteBench
from conformance.making import WORKER, accept, claim, ended, finish, running, submission, worker
from observatory import Observatory
from observatory.core.errors import SpineUnavailable, StoreUnavailable, WorkerLost
from observatory.core.job import Commit
from observatory.core.lifecycle import SUSPECT_CRASHES, OutcomeKind, State
from observatory.core.spine import work_of
from observatory.core.store import JobFilter
from observatory.runtime.dispatch import Dispatcher
from observatory.services.processor.claim import Claimer
from services.embedding import Unreliable, bench, until

pytestmark = pytest.mark.anyio

app = Observatory()


@app.job("work")
def work(n: int) -> None:
    """Never run here."""


class Claiming:
    """A claimer between a store and a spine that may fail."""

    def __init__(self, on: SqliteBench, *, shared: bool = False) -> None:
        self.on = on
        self.store = Unreliable(on.store)
        self.spine = Unreliable(on.spine, **({"shared": True} if shared else {}))
        dispatcher = Dispatcher(on.store, on.spine, "/observatory/test/1", 1000)
        self.claimer = Claimer(self.store, self.spine, dispatcher, WORKER, app.handlers)
        self.claimer.open(["default"])

    async def publish(self, *commits: Commit | None) -> None:
        """Put the runnable jobs of commits into their work queues."""
        for commit in commits:
            if commit is not None:
                await self.on.spine.publish([], work_of([commit]))

    async def accepted(self, *types: str) -> list[str]:
        """Jobs accepted together, so in one message, waiting in a work queue."""
        given = [submission(type) for type in types]
        _, commit = await self.on.store.accept(given)
        await self.publish(commit)
        return [one.id for one in given]

    async def suspects(self, count: int) -> list[str]:
        """Jobs whose workers died twice, waiting in a work queue."""
        jobs = [await running(self.on.store) for _ in range(count)]
        for attempt in range(SUSPECT_CRASHES):
            if attempt:
                await self.on.store.promote(count)
                for job in jobs:
                    await claim(self.on.store, job, attempt)
            lost = [ended(job, attempt + 1, outcome=OutcomeKind.LOST) for job in jobs]
            await finish(self.on.store, *lost)
        await self.publish(await self.on.store.promote(count))
        return jobs

    async def claimed(self, free: int = 10, tries: int = 1) -> list[str]:
        """What is claimed in one try or in several, whatever fails on the way."""
        found: list[str] = []
        for _ in range(tries):
            try:
                async with asyncio.timeout(5):
                    found += [job.id for job in await self.claimer.claim(free, free)]
            except (StoreUnavailable, SpineUnavailable):
                continue
        return found


@pytest.fixture
async def on(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SqliteBench]:
    monkeypatch.setattr("observatory.services.processor.claim._TAKE_TIMEOUT_S", 0.01)
    async with bench(tmp_path, empty_database) as opened:
        yield opened


async def states(on: SqliteBench) -> set[State]:
    return {job.state for job in await on.store.list_jobs(JobFilter(), None, 100)}


async def test_jobs_are_claimed_as_there_are_free_slots(on: SqliteBench) -> None:
    claiming = Claiming(on)
    jobs = await claiming.accepted(*["work"] * 5)

    first, second, third = [await claiming.claimed(free=2) for _ in range(3)]

    assert [len(first), len(second), len(third)] == [2, 2, 1]
    assert set(first + second + third) == set(jobs)
    assert await claiming.claimed() == []


async def test_a_message_is_settled_once_all_its_jobs_are_claimed(on: SqliteBench) -> None:
    claiming = Claiming(on)
    jobs = await claiming.accepted("work", "work")
    (first,) = await claiming.claimed(free=1)
    await claiming.claimer.close()

    again = Claiming(on)

    transitions = [(await on.store.history(job))[0] for job in jobs]
    assert await on.spine.missing(transitions) == [], "half of it is still to be claimed"

    assert await again.claimed() == [job for job in jobs if job != first]

    async def settled() -> bool:
        return await on.spine.missing(transitions) == transitions

    await until(settled, "although all its jobs are claimed")


async def test_a_claim_the_store_refused_is_made_again(on: SqliteBench) -> None:
    claiming = Claiming(on)
    jobs = await claiming.accepted("work", "work")
    claiming.store.before("claim", StoreUnavailable("gone"), StoreUnavailable("gone"))

    assert sorted(await claiming.claimed(tries=3)) == sorted(jobs)


async def test_what_a_claim_took_whose_answer_was_lost_is_run(on: SqliteBench) -> None:
    claiming = Claiming(on)
    jobs = await claiming.accepted("work", "work", "work")
    claiming.store.after("claim", StoreUnavailable("nobody knows"))

    assert await claiming.claimed(free=2) == []
    assert {(job, 1) for job in jobs[:2]} == claiming.claimer.in_doubt
    claiming.store.before("reclaim", StoreUnavailable("gone"))
    assert sorted(await claiming.claimed(free=2, tries=2)) == sorted(jobs[:2])
    assert await claiming.claimed(free=2, tries=3) == jobs[2:]


async def test_it_is_run_also_where_its_message_was_handed_on(on: SqliteBench) -> None:
    claiming = Claiming(on, shared=True)
    jobs = await claiming.accepted("work", "work")
    claiming.store.after("claim", StoreUnavailable("nobody knows"))
    assert await claiming.claimed() == []

    await claiming.claimer.hand_on()

    assert await Claiming(on, shared=True).claimed(tries=2) == []
    assert sorted(await claiming.claimed()) == sorted(jobs)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), asyncio.CancelledError()])
async def test_what_a_claim_took_outlives_whatever_cut_it_off(
    on: SqliteBench, error: BaseException
) -> None:
    claiming = Claiming(on)
    jobs = await claiming.accepted("work", "work")
    claiming.store.before("claim", error)
    claiming.store.after("claim", error)
    for _ in range(2):
        with pytest.raises(type(error)):
            await claiming.claimer.claim(1, 1)

    assert sorted(await claiming.claimed(tries=3)) == sorted(jobs)


async def test_what_a_worker_declared_dead_has_at_hand_waits_until_it_is_back(
    on: SqliteBench,
) -> None:
    claiming = Claiming(on)
    jobs = await claiming.accepted("work", "work")
    await on.store.register_worker(worker())
    await on.store.unregister_worker(WORKER)
    for _ in range(2):
        with pytest.raises(WorkerLost):
            await claiming.claimer.claim(1, 1)

    await on.store.register_worker(worker())
    assert sorted(await claiming.claimed(tries=3)) == sorted(jobs)


async def test_a_repeat_or_a_cancelled_job_is_dropped(on: SqliteBench) -> None:
    claiming = Claiming(on)
    done, cancelled, good = await claiming.accepted("work", "work", "work")
    await claim(on.store, done)
    await on.store.cancel(cancelled, None)

    assert await claiming.claimed() == [good]
    await claiming.claimer.close()
    assert await Claiming(on).claimed(tries=2) == []


async def test_what_cannot_be_run_here_is_parked_and_the_rest_is_claimed(on: SqliteBench) -> None:
    claiming = Claiming(on)
    unknown, known = await claiming.accepted("nobody.knows", "work")

    assert await claiming.claimed() == [known]

    job = await on.store.job(unknown)
    assert job is not None
    assert job.state is State.QUEUED
    queued = await on.store.queued(await on.store.now() + 1, "", 10)
    assert [t.job for t in queued] == [unknown]
    assert await on.spine.missing(queued) == []


async def test_another_version_of_a_contract_is_parked(on: SqliteBench) -> None:
    claiming = Claiming(on)
    _, commit = await on.store.accept([submission("work", contract_version=2)])
    await claiming.publish(commit)

    assert await claiming.claimed(tries=2) == []

    assert await states(on) == {State.QUEUED}
    queued = await on.store.queued(await on.store.now() + 1, "", 10)
    assert await on.spine.missing(queued) == []


async def test_a_message_that_could_not_be_parked_takes_no_other_with_it(on: SqliteBench) -> None:
    claiming = Claiming(on)
    (unknown,) = await claiming.accepted("nobody.knows")
    jobs = [*await claiming.accepted("work"), *await claiming.accepted("work")]
    claiming.spine.before("park", SpineUnavailable("gone"))

    assert sorted(await claiming.claimed(tries=5)) == sorted(jobs)

    queued = await on.store.queued(await on.store.now() + 1, "", 10)
    assert [t.job for t in queued] == [unknown]
    assert await on.spine.missing(queued) == []


# Suspects


async def test_one_suspect_runs_at_a_time(on: SqliteBench) -> None:
    claiming = Claiming(on)
    suspects = await claiming.suspects(3)

    first = await claiming.claimed(tries=3)
    assert len(first) == 1
    calm = await claiming.accepted("work")
    assert await claiming.claimed(tries=2) == calm, "others need not wait"
    claiming.claimer.ended(first[0])
    second = await claiming.claimed(tries=3)
    claiming.claimer.ended(second[0])
    third = await claiming.claimed(tries=3)

    assert sorted(first + second + third) == sorted(suspects)


async def test_a_suspect_the_store_did_not_give_is_claimed_later(on: SqliteBench) -> None:
    claiming = Claiming(on)
    suspects = await claiming.suspects(1)
    claiming.store.before("claim", StoreUnavailable("gone"))

    assert await claiming.claimed(tries=5) == suspects


async def test_a_suspect_whose_claim_was_cut_off_is_still_the_only_one(on: SqliteBench) -> None:
    claiming = Claiming(on)
    suspects = await claiming.suspects(2)
    claiming.store.after("claim", StoreUnavailable("nobody knows"))

    first = await claiming.claimed(tries=4)
    assert len(first) == 1
    claiming.claimer.ended(first[0])
    assert sorted(first + await claiming.claimed(tries=4)) == sorted(suspects)


async def test_a_suspect_that_was_cancelled_holds_up_no_other(on: SqliteBench) -> None:
    claiming = Claiming(on)
    first, second = await claiming.suspects(2)
    await on.store.cancel(first, None)

    assert await claiming.claimed(tries=4) == [second]


async def test_a_suspect_that_an_operator_cleared_holds_up_no_other(on: SqliteBench) -> None:
    claiming = Claiming(on)
    cleared, other = await claiming.suspects(2)
    await on.store.cancel(cleared, None)
    await on.store.requeue(cleared)  # its old message still calls it a suspect

    claimed: list[Any] = []
    for _ in range(5):
        for job in await claiming.claimer.claim(10, 10):
            claimed.append(job.id)
            claiming.claimer.ended(job.id)

    assert sorted(claimed) == sorted([cleared, other])


async def test_what_ran_when_a_node_died_runs_together_again(on: SqliteBench) -> None:
    claiming = Claiming(on)
    jobs = [await running(on.store) for _ in range(5)]
    await finish(on.store, *(ended(job, outcome=OutcomeKind.LOST) for job in jobs))
    await claiming.publish(await on.store.promote(10))

    assert sorted(await claiming.claimed()) == sorted(jobs)


async def test_suspects_that_wait_are_handed_on_to_whoever_has_room(
    on: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming = Claiming(on, shared=True)
    suspects = await claiming.suspects(3)
    running_here = await claiming.claimed(tries=3)
    monkeypatch.setattr("observatory.services.processor.claim._SUSPECTS_HELD_S", 0.0)
    claiming.spine.before("publish", SpineUnavailable("gone"))

    assert await claiming.claimed(tries=2) == []
    other = await Claiming(on, shared=True).claimed(tries=3)

    assert len(running_here) == len(other) == 1
    assert running_here != other
    (left,) = set(suspects) - {*running_here, *other}
    queued = await on.store.queued(await on.store.now() + 1, "", 10)
    assert [t.job for t in queued] == [left]
    assert await on.spine.missing(queued) == []


async def test_suspects_that_nobody_else_can_take_are_kept(
    on: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.processor.claim._SUSPECTS_HELD_S", 0.0)
    claiming = Claiming(on)
    await claiming.suspects(2)

    await claiming.claimed(tries=5)

    assert "publish" not in claiming.spine.calls


# Handing on, where others take from the same queues


async def test_what_is_beyond_the_free_slots_is_handed_on_whole(on: SqliteBench) -> None:
    claiming = Claiming(on, shared=True)
    jobs = await claiming.accepted(*["work"] * 5)

    first = await claiming.claimed(free=2)
    await claiming.claimer.hand_on()
    other = await Claiming(on, shared=True).claimed(free=10)

    assert len(first) == 2
    assert sorted(first + other) == sorted(jobs)


async def test_a_handing_on_that_failed_loses_no_job(on: SqliteBench) -> None:
    claiming = Claiming(on, shared=True)
    jobs = await claiming.accepted(*["work"] * 5)
    claimed = await claiming.claimed(free=2)
    claiming.spine.before("publish", SpineUnavailable("gone"))

    await claiming.claimer.hand_on()
    claimed += await claiming.claimed(free=2, tries=6)

    assert sorted(claimed) == sorted(jobs)


async def test_nothing_is_claimed_of_queues_nobody_opened(on: SqliteBench) -> None:
    claiming = Claiming(on)
    await accept(on.store)
    await claiming.claimer.close()

    assert await claiming.claimed() == []


async def test_queues_that_were_left_and_taken_up_again_are_taken_from(on: SqliteBench) -> None:
    claiming = Claiming(on)
    await claiming.claimer.limit_to([])
    await claiming.claimer.limit_to(["default"])

    jobs = await claiming.accepted("work")

    assert await claiming.claimed() == jobs


async def test_a_claim_that_waits_is_not_made_once_its_queues_are_left(on: SqliteBench) -> None:
    claiming = Claiming(on)
    waiting = asyncio.create_task(claiming.claimed())
    await asyncio.sleep(0)

    await claiming.claimer.limit_to([])
    (job,) = await claiming.accepted("work")

    assert await waiting == []
    shown = await on.store.job(job)
    assert shown is not None
    assert shown.state is State.QUEUED
