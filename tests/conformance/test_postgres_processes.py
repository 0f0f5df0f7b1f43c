"""Several processes on one PostgreSQL, each with connections of its own, at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conformance.making import (
    OTHER_WORKER,
    WORKER,
    accept,
    all_published,
    completed,
    ended,
    finish,
    keyed,
    named,
    running,
    submission,
    worker,
)
from conformance.postgres import drop_database, new_database, server
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.store import PostgresStore
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Commit
from observatory.core.lifecycle import OutcomeKind
from observatory.core.store import Accepted

pytestmark = pytest.mark.anyio

Stores = list[PostgresStore]


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    url = new_database(server())
    databases = [Database(url) for _ in range(3)]
    yield [PostgresStore(one, f"boot-{n}") for n, one in enumerate(databases)]
    for one in databases:
        await one.close()
    drop_database(server(), url)


def assert_no_gaps(commits: list[Commit]) -> None:
    for publisher in {c.publisher for c in commits}:
        numbers = [c.number for c in commits if c.publisher == publisher]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_one_key_makes_one_job_whoever_is_asked(stores: Stores) -> None:
    for n in range(20):
        given = [keyed(f"k{n}", "body") for _ in stores for _ in range(3)]

        answers = await asyncio.gather(
            *(stores[i % len(stores)].accept([one]) for i, one in enumerate(given))
        )

        results = [result for (result,), _ in answers]
        assert len({result.job_id for result in results}) == 1
        assert sum(isinstance(r, Accepted) and not r.replayed for r in results) == 1
    commits = await stores[0].unpublished(0, 1000)
    assert sum(len(c.transitions) for c in commits) == 20
    assert_no_gaps(commits)


async def test_keys_met_in_opposite_order_are_no_deadlock(stores: Stores) -> None:
    names = [f"k{n}" for n in range(50)]
    batches = [names, names[::-1], names[25:] + names[:25]]

    answers = await asyncio.gather(
        *(
            store.accept([keyed(name, "body") for name in batch])
            for store, batch in zip(stores, batches, strict=True)
        )
    )

    results = [result for found, _ in answers for result in found]
    assert sum(isinstance(r, Accepted) and not r.replayed for r in results) == 50
    assert len({r.job_id for r in results}) == 50


async def test_a_job_named_to_all_is_claimed_by_one_and_ended_by_one(stores: Stores) -> None:
    jobs = await accept(stores[0], *(submission() for _ in range(200)))
    references = [named(job) for job in jobs]
    orders = [references, references[::-1], references[100:] + references[:100]]

    claims = await asyncio.gather(
        *(
            store.claim(order, f"worker.example:{n}:boot")
            for n, (store, order) in enumerate(zip(stores, orders, strict=True))
        )
    )
    owners = {job.id: n for n, (claimed, _) in enumerate(claims) for job in claimed}
    assert sorted(owners) == sorted(jobs)
    assert sum(len(claimed) for claimed, _ in claims) == len(jobs)

    ends = await asyncio.gather(
        *(
            store.finish([ended(job) for job in jobs], f"worker.example:{n}:boot")
            for n, store in enumerate(stores)
        )
    )
    for n, (recorded, _) in enumerate(ends):
        assert recorded == [owners[job] == n for job in jobs]
    assert_no_gaps(await stores[0].unpublished(0, 1000))


async def test_an_outcome_and_a_rescue_at_once_leave_one_of_them(stores: Stores) -> None:
    first, second, _ = stores
    for _ in range(20):
        await first.register_worker(worker(WORKER))
        job = await running(first, by=OTHER_WORKER)
        await all_published(first)

        (recorded, _), (_, rescued) = await asyncio.gather(
            first.finish([ended(job)], OTHER_WORKER), second.rescue(WORKER, 1, 100)
        )

        assert recorded == [rescued is None]
        history = await first.history(job)
        assert [t.version for t in history] == [1, 2, 3]
        assert history[-1].outcome is (
            OutcomeKind.COMPLETED if recorded == [True] else OutcomeKind.LOST
        )


@pytest.mark.parametrize("change", ["promote", "rescue", "cancel", "requeue", "prune"])
async def test_the_log_is_told_of_no_change_before_the_one_it_follows(
    stores: Stores, change: str
) -> None:
    """A process has a change on record and has not published it; another changes the job further."""
    first, second, _ = stores
    if change == "promote":
        job = await running(first)
        await finish(first, ended(job, outcome=OutcomeKind.ERROR))
        assert await second.promote(10) is None
        assert len(await first.history(job)) == 3, "a moment later it may be on its way"
        await asyncio.sleep(1.1)
        commit = await second.promote(10)
    elif change == "rescue":
        job = await running(first, by="gone.example:1:boot")
        _, commit = await second.rescue(WORKER, 1, 10)
    elif change == "cancel":
        (job,) = await accept(first)
        _, commit = await second.cancel(job, None)
    elif change == "requeue":
        job = await completed(first)
        _, commit = await second.requeue(job)
    else:
        job = await completed(first)
        commit = await second.prune(await first.now() + 1, 10)
    (at_once,) = await accept(second)

    assert commit is None, "whoever made the change would publish it"
    told = await first.unpublished(0, 100)
    versions = [t.version for c in told for t in c.transitions if t.job == job]
    assert versions == list(range(1, len(versions) + 1))
    late = next(
        c for c in told for t in c.transitions if t.job == job and c.publisher == "boot-1.relayed"
    )
    assert late.number == 1
    assert not await second.unpublished(60_000_000, 100), "not before its turn"
    for c in told:
        if c.publisher != late.publisher and at_once not in {t.job for t in c.transitions}:
            await first.published([c.number], c.publisher)
    (turn,) = await second.unpublished(60_000_000, 100)
    assert turn == late


async def test_what_waits_for_its_turn_is_not_taken_along_by_what_waits_longer(
    stores: Stores,
) -> None:
    first, second, _ = stores
    (early,) = await accept(first)
    await second.cancel(early, None)
    (told,) = [c for c in await first.unpublished(0, 10) if c.publisher == "boot-0"]
    await first.published([told.number])
    await asyncio.sleep(0.6)
    (young,) = await accept(first)
    await second.cancel(young, None)

    found = await second.unpublished(500_000, 10)

    assert [t.job for c in found for t in c.transitions] == [early], "the log knows no other"


async def test_a_change_that_follows_what_was_published_is_published_at_once(
    stores: Stores,
) -> None:
    first, second, _ = stores
    (job,) = await accept(first)
    await all_published(first)

    _, commit = await second.cancel(job, None)

    assert commit is not None
    assert [t.version for t in commit.transitions] == [2]


async def test_one_of_all_leads(stores: Stores) -> None:
    for n, store in enumerate(stores):
        await store.register_worker(worker(f"worker.example:{n}:boot"))

    for _ in range(10):
        answers = await asyncio.gather(
            *(store.lead(f"worker.example:{n}:boot", 60_000_000) for n, store in enumerate(stores))
        )
        assert sum(answers) == 1


async def test_a_transition_is_never_older_than_the_one_before_it(stores: Stores) -> None:
    (job,) = await accept(stores[0])
    for attempt in range(15):
        await asyncio.gather(*(s.claim([named(job, attempt)], WORKER) for s in stores))
        await asyncio.gather(
            *(
                s.finish([ended(job, attempt + 1, OutcomeKind.RELEASED)], WORKER)
                for s in stores[::-1]
            )
        )

    history = await stores[0].history(job)

    assert len(history) == 31
    instants = [t.at for t in history]
    assert instants == sorted(instants)


async def test_a_worker_that_does_not_lead_locks_nothing(stores: Stores) -> None:
    first, second, _ = stores
    lease_us = 60 * MICROSECONDS

    async def row() -> list[Any]:
        """The version of the leader's row, and who locked it last."""
        query = b"SELECT xmin::text, xmax::text FROM leader"
        return await first._database.read(  # pyright: ignore[reportPrivateUsage]
            lambda db: db.execute(query)
        )

    for one in (WORKER, OTHER_WORKER):
        await first.register_worker(worker(one))
    assert await first.lead(WORKER, lease_us)
    before = await row()

    assert not await second.lead(OTHER_WORKER, lease_us)

    assert await row() == before
    await first.unregister_worker(WORKER)
    assert await second.lead(OTHER_WORKER, lease_us)
