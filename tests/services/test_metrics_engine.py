"""The metrics engine: each numbered batch counts once, and what is lost is rebuilt."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.benches import SqliteBench
from conformance.making import (
    SOURCE,
    accept,
    claim,
    completed,
    ended,
    failed,
    finish,
    running,
    submission,
    worker,
)
from observatory.core.aggregates import Deltas, Position
from observatory.core.event import encode_batch, encode_commit, worker_event
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Commit
from observatory.core.lifecycle import OutcomeKind
from observatory.core.spine import LogEntry, LogMessage
from observatory.services.metrics_engine.follow import Follower
from services.embedding import assert_aggregates_equal_the_store, bench

pytestmark = pytest.mark.anyio


class Engine:
    """A follower that a test drives, on the backends it follows."""

    def __init__(self, on: SqliteBench) -> None:
        self.on = on
        self.follower = Follower(on.spine, on.store, on.aggregates)

    async def told(self) -> list[Commit]:
        """Every commit so far, in the order of its publisher."""
        return await self.on.store.unpublished(0, 1000)

    async def publish(self, *commits: Commit) -> None:
        """Append commits to the log, each as a message of its own."""
        for commit in commits:
            body = encode_commit(commit, SOURCE)
            await self.on.spine.publish([LogEntry(body, commit.publisher, commit.number)], [])

    async def catch_up(self) -> None:
        """Tick until the aggregates are at the end of the log."""
        for _ in range(100):
            await self.follower.tick()
            position = await self.on.aggregates.position()
            if position is not None and position.offset == (await self.on.spine.log_range()).last:
                return
        raise AssertionError("the follower does not catch up")

    async def begin_anew(self) -> None:
        """Another process follows."""
        self.follower = Follower(self.on.spine, self.on.store, self.on.aggregates)

    async def assert_exact(self) -> None:
        await assert_aggregates_equal_the_store(self.on.aggregates, self.on.store)


@pytest.fixture
async def engine(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Engine]:
    """Has followed an empty log, so that what is said later is counted and not rebuilt."""
    monkeypatch.setattr("observatory.services.metrics_engine.follow._WAIT_S", 0.001)
    async with bench(tmp_path, empty_database) as on:
        engine = Engine(on)
        await engine.catch_up()
        assert engine.follower.rebuilds == 1
        yield engine


async def some_life(engine: Engine) -> None:
    """Jobs in several states, of several types and queues."""
    store = engine.on.store
    await accept(store, submission(), submission("other", queue="q", delay_us=60 * MICROSECONDS))
    await completed(store)
    await failed(store, type="other")
    retrying = await running(store)
    await finish(store, ended(retrying, outcome=OutcomeKind.ERROR))
    await store.cancel((await accept(store))[0], None)
    await running(store, queue="q")


async def test_what_is_followed_equals_the_store(engine: Engine) -> None:
    await some_life(engine)
    await engine.publish(*await engine.told())

    await engine.catch_up()

    await engine.assert_exact()
    assert (engine.follower.rebuilds, engine.follower.repeats) == (1, 0)
    position = await engine.on.aggregates.position()
    assert position is not None
    assert position.numbers == (await engine.on.store.snapshot()).numbers


async def test_what_ended_with_the_process_is_counted_before_it_ends(engine: Engine) -> None:
    engine.follower.start()
    await some_life(engine)
    await engine.publish(*await engine.told())

    await engine.follower.stop()

    await engine.assert_exact()


async def test_repeats_are_skipped(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits[:4])
    await engine.catch_up()

    await engine.publish(*commits[2:4], *commits[:6], *commits[4:], commits[0])
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1
    assert engine.follower.repeats == 2 + 4 + 2 + 1


async def test_a_gap_is_healed_from_the_store(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.on.store.published([c.number for c in commits])
    await engine.publish(commits[0], commits[1])
    await engine.catch_up()

    await engine.publish(*commits[3:])
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2
    await engine.publish(commits[2], *commits)
    await engine.catch_up()
    await engine.assert_exact()
    assert engine.follower.rebuilds == 2, "what comes late is known already"


async def test_what_still_waits_to_be_published_is_counted_from_the_outbox(
    engine: Engine,
) -> None:
    """As where the answer to a commit was lost, so that only the relay publishes it."""
    await some_life(engine)
    commits = await engine.told()
    for gone in (*commits[:2], *commits[5:]):
        await engine.on.store.published([gone.number])

    await engine.publish(*commits[:2], *commits[5:])
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1
    await engine.publish(*commits[2:5])
    await engine.catch_up()
    await engine.assert_exact()
    assert (engine.follower.rebuilds, engine.follower.repeats) == (1, 3)


async def test_a_message_that_cannot_be_read_is_a_gap(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits[:3])
    await engine.on.spine.publish([LogEntry(b"not a batch", commits[3].publisher, 4)], [])
    bad_time = encode_commit(commits[4], SOURCE).replace(b'"time":"20', b'"time":"xx')
    await engine.on.spine.publish([LogEntry(bad_time, commits[4].publisher, 5)], [])
    await engine.publish(*commits[5:])

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds >= 2


async def audited(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks of the audit, with some following between."""
    monkeypatch.setattr("observatory.services.metrics_engine.audit._READ_WITHIN_S", 0.0)
    for _ in range(2):
        await engine.follower.audit()
        await engine.catch_up()
        await engine.follower.tick()


async def test_a_lost_end_of_the_log_is_noticed_though_no_gap_shows_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.on.store.published([c.number for c in commits])  # the broker had confirmed them
    await engine.publish(*commits[:-3])
    await engine.catch_up()

    await audited(engine, monkeypatch)

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2
    await audited(engine, monkeypatch)
    assert engine.follower.rebuilds == 2


async def test_the_audit_leaves_alone_what_is_still_on_its_way(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_life(engine)
    commits = await engine.told()
    await audited(engine, monkeypatch)
    await engine.publish(*commits)
    await engine.on.store.published([c.number for c in commits])
    await engine.follower.audit()  # before any of it is read
    await engine.catch_up()
    await audited(engine, monkeypatch)

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1


async def test_a_store_that_went_back_is_noticed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits)
    await engine.on.store.published([c.number for c in commits])
    await engine.catch_up()
    # As after a restore of a backup, or a failover to a standby that lagged.
    await engine.on.database.write(lambda db: db.execute("UPDATE publishers SET last_number = 1"))

    await audited(engine, monkeypatch)

    assert engine.follower.rebuilds == 2


async def test_while_a_gap_is_not_healed_the_sums_are_known_to_be_incomplete(
    engine: Engine,
) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.on.store.published([c.number for c in commits])
    await engine.publish(commits[1])

    await engine.follower.tick()

    assert await engine.on.aggregates.position() is None


async def test_a_publisher_that_begins_in_the_middle_is_a_gap(engine: Engine) -> None:
    other = await engine.on.store_of("boot-b")
    await accept(other)
    await accept(other)
    commits = await engine.told()
    await other.published([1, 2])
    await engine.publish(commits[1])

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2


async def test_publishers_are_told_apart(engine: Engine) -> None:
    ours, theirs = engine.on.store, await engine.on.store_of("boot-b")
    for _ in range(3):
        await accept(ours)
        await completed(theirs)
    commits = await engine.told()
    order = sorted(commits, key=lambda c: (c.number, c.publisher))
    await engine.publish(*order)

    await engine.catch_up()

    await engine.assert_exact()
    assert (engine.follower.rebuilds, engine.follower.repeats) == (1, 0)


async def test_events_without_a_number_are_not_counted_and_not_read_again(engine: Engine) -> None:
    event = worker_event("heartbeat", worker(), 1_800_000_000_000_000, SOURCE)
    await engine.on.spine.publish([LogEntry(encode_batch([event]))], [])

    await engine.catch_up()

    position = await engine.on.aggregates.position()
    assert position is not None
    assert position.offset == (await engine.on.spine.log_range()).last
    await engine.assert_exact()


async def test_another_process_goes_on_where_the_last_one_was(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits[:5])
    await engine.catch_up()

    await engine.begin_anew()
    await engine.publish(*commits[5:])
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 0


async def test_a_position_lost_while_following_is_rebuilt(engine: Engine) -> None:
    await some_life(engine)
    await engine.publish(*await engine.told())
    await engine.on.aggregates.invalidate()

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2


async def test_aggregates_emptied_while_following_are_rebuilt(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits[:5])
    await engine.catch_up()
    await engine.on.aggregates.replace(Position("of nobody", 0, {}), Deltas())

    await engine.publish(*commits[5:])
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2


async def test_a_log_made_anew_leads_to_a_rebuild(engine: Engine) -> None:
    await some_life(engine)
    last = (await engine.on.spine.log_range()).last
    await engine.on.aggregates.replace(Position("an old epoch", last, {}), Deltas())
    await engine.begin_anew()

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1
    position = await engine.on.aggregates.position()
    assert position is not None
    assert position.epoch == (await engine.on.spine.log_range()).epoch


@pytest.mark.parametrize("fault", ["made anew", "shorter than remembered", "aggregates emptied"])
async def test_what_is_lost_while_nothing_happens_is_noticed(engine: Engine, fault: str) -> None:
    await some_life(engine)
    await engine.publish(*await engine.told())
    await engine.catch_up()
    log = await engine.on.spine.log_range()
    if fault == "aggregates emptied":
        await engine.on.aggregates.invalidate()
    else:
        epoch, last = (
            ("an old epoch", log.last) if fault == "made anew" else (log.epoch, log.last + 10)
        )
        await engine.on.aggregates.replace(Position(epoch, last, {}), Deltas())

    await engine.follower.tick()
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2


async def test_a_log_shorter_than_remembered_leads_to_a_rebuild(engine: Engine) -> None:
    await some_life(engine)
    log = await engine.on.spine.log_range()
    await engine.on.aggregates.replace(Position(log.epoch, log.last + 10, {}), Deltas())
    await engine.begin_anew()

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1


async def test_a_log_that_no_longer_reaches_back_leads_to_a_rebuild(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits[:4])
    await engine.on.advance(60)
    assert await engine.on.spine.trim_log(await engine.on.now()) == 4
    await engine.publish(*commits[4:])
    await engine.begin_anew()

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1


async def test_what_is_trimmed_while_it_was_not_followed_is_noticed(engine: Engine) -> None:
    """The publisher of what is lost has ended, so no number of its own tells."""
    ended, other = await engine.on.store_of("boot-b"), engine.on.store
    await accept(ended)
    await engine.publish(*await engine.told())
    await engine.catch_up()
    await accept(ended)
    await accept(ended)
    commits = await engine.told()
    await engine.publish(*commits[1:])
    await engine.on.advance(3600)
    assert await engine.on.spine.trim_log(await engine.on.now()) == 3
    await accept(other)
    await engine.publish(*(await engine.told())[len(commits) :])

    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 2


async def test_offsets_that_the_log_uses_itself_are_no_loss(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await some_life(engine)
    await engine.publish(*await engine.told())
    read_log = engine.on.spine.read_log

    async def without_the_first(after: int, *limits: int) -> list[LogMessage]:
        return (await read_log(after, *limits))[1:]

    heartbeat = encode_batch([worker_event("heartbeat", worker(), 1_800_000_000_000_000, SOURCE)])
    await engine.catch_up()
    await engine.on.spine.publish([LogEntry(heartbeat)], [])
    await accept(engine.on.store)
    monkeypatch.setattr(engine.on.spine, "read_log", without_the_first)
    await engine.publish((await engine.told())[-1])

    await engine.follower.tick()

    await engine.assert_exact()
    assert engine.follower.rebuilds == 1


async def test_what_is_committed_while_a_rebuild_is_under_way_counts_once(engine: Engine) -> None:
    await some_life(engine)
    commits = await engine.told()
    await engine.publish(*commits[:3])
    await engine.on.aggregates.invalidate()
    await engine.begin_anew()
    await engine.catch_up()  # the store is ahead of the log

    await engine.publish(*commits[3:])
    await completed(engine.on.store)
    await engine.publish(*(await engine.told())[len(commits) :])
    await engine.catch_up()

    await engine.assert_exact()
    assert engine.follower.repeats == len(commits) - 3


async def test_pruned_jobs_leave_the_states(engine: Engine) -> None:
    await some_life(engine)
    await engine.on.advance(3600)
    await engine.on.store.prune(await engine.on.store.now(), 100)
    await engine.publish(*await engine.told())

    await engine.catch_up()

    rows, _ = await engine.on.aggregates.states()
    counts = {(row.type, row.queue, row.state): row.count for row in rows}
    assert counts == (await engine.on.store.snapshot()).deltas.states


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_log_loses_or_repeats_the_sums_end_exact(
    engine: Engine, seed: int
) -> None:
    chance = random.Random(seed)
    waiting: list[str] = []
    told = 0
    for _ in range(30):
        store = engine.on.store if chance.random() < 0.5 else await engine.on.store_of("boot-b")
        if waiting and chance.random() < 0.5:
            job = waiting.pop()
            await claim(store, job)
            await finish(store, ended(job, outcome=chance.choice(list(OutcomeKind))))
        else:
            waiting += await accept(store)
        commits = await engine.told()
        news = sorted(commits, key=lambda c: c.transitions[-1].at)[told:]
        told = len(commits)
        if chance.random() < 0.9:
            await engine.publish(*news)
        if chance.random() < 0.3:
            await engine.publish(chance.choice(commits))
        if chance.random() < 0.1:
            await engine.on.aggregates.invalidate()
        if chance.random() < 0.1:
            await engine.begin_anew()
        if chance.random() < 0.5:
            await engine.follower.tick()
    # What the relay would bring in the end.
    await engine.publish(*await engine.told())

    await engine.catch_up()

    await engine.assert_exact()
