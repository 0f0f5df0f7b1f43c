"""Dispatch: what was committed is published, in order, until the spine has confirmed it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.benches import SqliteBench
from conformance.making import SOURCE, accept, submission, worker
from observatory.core.errors import BacklogFull, SpineUnavailable, StoreUnavailable
from observatory.core.event import worker_event
from observatory.core.job import Commit
from observatory.runtime.dispatch import Dispatcher
from observatory.services.processor.maintenance.relay import Relay
from services.embedding import Unreliable, bench, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["at once", "log first"])
async def on(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[SqliteBench]:
    """Log and work are published in one step, as this spine may have it, and one after the other."""
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.001)
    monkeypatch.setattr("observatory.runtime.dispatch._LOOK_S", 0.001)
    async with bench(tmp_path, empty_database) as opened:
        monkeypatch.setattr(opened.spine, "publishes_at_once", request.param, raising=False)
        yield opened


async def committed(on: SqliteBench, count: int) -> list[Commit]:
    """This many commits of one job each."""
    commits = []
    for _ in range(count):
        _, commit = await on.store.accept([submission()])
        assert commit is not None
        commits.append(commit)
    return commits


async def numbers(on: SqliteBench) -> list[int | None]:
    return [message.number for message in await on.spine.read_log(0, 1000)]


async def queued(on: SqliteBench) -> list[str]:
    """The jobs that work messages name, in order."""
    deliveries = await on.spine.consume(["default"]).take(1000, 0.2)
    return [reference.id for delivery in deliveries for reference in delivery.message.jobs]


async def test_commits_are_published_in_order_and_forgotten(on: SqliteBench) -> None:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)
    dispatcher.start()
    commits = await committed(on, 5)

    for commit in commits:
        dispatcher.put(commit)
    await dispatcher.stop()

    assert await numbers(on) == [1, 2, 3, 4, 5]
    assert await queued(on) == [c.transitions[0].job for c in commits]
    assert (await on.store.outbox_backlog()).commits == 0
    assert dispatcher.backlog == 0


async def test_what_nobody_gave_to_be_published_goes_before_what_came_after_it(
    on: SqliteBench,
) -> None:
    """As where the answer to a commit was lost."""
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)
    commits = await committed(on, 8)
    dispatcher.start()

    for commit in commits:
        if commit.number not in (3, 4, 7):
            dispatcher.put(commit)
    await until(lambda: dispatcher.backlog == 0)
    await dispatcher.stop()

    assert await numbers(on) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await queued(on) == [c.transitions[0].job for c in commits]
    assert (await on.store.outbox_backlog()).commits == 0


async def test_what_the_relay_has_published_is_not_waited_for(on: SqliteBench) -> None:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)
    commits = await committed(on, 3)
    await on.store.published([2])
    dispatcher.start()
    for commit in (commits[0], commits[2]):
        dispatcher.put(commit)
    await dispatcher.stop()

    assert await numbers(on) == [1, 3]


async def test_nothing_is_published_of_a_change_that_was_none(on: SqliteBench) -> None:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)
    dispatcher.put(None)

    assert dispatcher.backlog == 0


async def test_what_is_put_before_the_start_is_published_after_it(on: SqliteBench) -> None:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)
    for commit in await committed(on, 2):
        dispatcher.put(commit)

    dispatcher.start()
    await dispatcher.stop()

    assert await numbers(on) == [1, 2]
    assert (await on.store.outbox_backlog()).commits == 0


async def test_a_publish_that_was_refused_is_tried_again_in_order(on: SqliteBench) -> None:
    spine = Unreliable(on.spine)
    spine.before("publish", *(SpineUnavailable("gone") for _ in range(3)))
    dispatcher = Dispatcher(on.store, spine, SOURCE, 1000)
    commits = await committed(on, 3)
    dispatcher.start()
    for commit in commits:
        dispatcher.put(commit)

    await until(lambda: dispatcher.backlog == 0)
    await dispatcher.stop()

    assert await numbers(on) == [1, 2, 3]
    assert (await on.store.outbox_backlog()).commits == 0


async def test_a_publish_of_which_nothing_is_known_is_repeated(on: SqliteBench) -> None:
    spine = Unreliable(on.spine)
    spine.after("publish", SpineUnavailable("no confirm came"))
    dispatcher = Dispatcher(on.store, spine, SOURCE, 1000)
    commits = await committed(on, 3)
    for commit in commits:
        dispatcher.put(commit)
    dispatcher.start()

    await until(lambda: dispatcher.backlog == 0)
    await dispatcher.stop()

    assert await numbers(on) == [1, 2, 3, 1, 2, 3]
    assert set(await queued(on)) == {c.transitions[0].job for c in commits}
    assert (await on.store.outbox_backlog()).commits == 0


async def test_an_outbox_row_that_could_not_be_forgotten_is_forgotten_later(
    on: SqliteBench,
) -> None:
    store = Unreliable(on.store)
    store.before("published", StoreUnavailable("busy"), StoreUnavailable("busy"))
    dispatcher = Dispatcher(store, on.spine, SOURCE, 1000)
    dispatcher.start()
    for commit in await committed(on, 2):
        dispatcher.put(commit)

    async def empty() -> bool:
        return (await on.store.outbox_backlog()).commits == 0

    await until(empty)
    await dispatcher.stop()
    assert set(await numbers(on)) == {1, 2}


async def test_work_waits_for_the_log_and_the_log_for_no_work(on: SqliteBench) -> None:
    spine = Unreliable(on.spine, publishes_at_once=False)
    spine.before("publish", SpineUnavailable("the log takes nothing"))
    dispatcher = Dispatcher(on.store, spine, SOURCE, 1000)
    commits = await committed(on, 2)
    dispatcher.put(commits[0])
    with pytest.raises(SpineUnavailable):
        await dispatcher._tell()
    assert not await dispatcher._send()
    assert await queued(on) == []

    await dispatcher._tell()
    spine.before("publish", SpineUnavailable("the work queue takes nothing"))
    with pytest.raises(SpineUnavailable):
        await dispatcher._send()
    dispatcher.put(commits[1])
    await dispatcher._tell()

    assert await numbers(on) == [1, 2]
    assert await queued(on) == []
    assert (await on.store.outbox_backlog()).commits == dispatcher.backlog == 2
    await dispatcher.stop()
    assert await queued(on) == [c.transitions[0].job for c in commits]
    assert (await on.store.outbox_backlog()).commits == dispatcher.backlog == 0


async def test_an_error_nobody_foresaw_does_not_end_the_dispatch(on: SqliteBench) -> None:
    spine = Unreliable(on.spine)
    spine.before("publish", RuntimeError("a bug in a driver"))
    dispatcher = Dispatcher(on.store, spine, SOURCE, 1000)
    for commit in await committed(on, 2):
        dispatcher.put(commit)
    dispatcher.start()

    await until(lambda: dispatcher.backlog == 0, "although there was an error")
    await dispatcher.stop()

    assert await numbers(on) == [1, 2]


async def test_what_the_spine_did_not_take_before_the_stop_the_relay_brings(
    on: SqliteBench,
) -> None:
    spine = Unreliable(on.spine)
    spine.before("publish", *(SpineUnavailable("gone") for _ in range(1000)))
    dispatcher = Dispatcher(on.store, spine, SOURCE, 1000)
    dispatcher.start()
    for commit in await committed(on, 3):
        dispatcher.put(commit)
    await dispatcher.stop()
    assert (await on.store.outbox_backlog()).commits == 3

    relay = Relay(on.store, Dispatcher(on.store, on.spine, SOURCE, 1000))
    assert not await relay.tick(older_than_s=0)

    assert await numbers(on) == [1, 2, 3]
    assert len(await queued(on)) == 3
    assert (await on.store.outbox_backlog()).commits == 0
    assert not await relay.tick(older_than_s=0)


async def test_the_relay_brings_what_other_publishers_left(on: SqliteBench) -> None:
    other = await on.store_of("boot-b")
    await accept(other)
    await accept(on.store)

    await Relay(on.store, Dispatcher(on.store, on.spine, SOURCE, 1000)).tick(older_than_s=0)

    told = {(m.publisher, m.number) for m in await on.spine.read_log(0, 10)}
    assert told == {("boot-a", 1), ("boot-b", 1)}
    assert (await on.store.outbox_backlog()).commits == 0


async def test_the_relay_keeps_what_the_spine_did_not_take(on: SqliteBench) -> None:
    spine = Unreliable(on.spine)
    spine.before("publish", SpineUnavailable("gone"))
    await accept(on.store)
    relay = Relay(on.store, Dispatcher(on.store, spine, SOURCE, 1000))

    with pytest.raises(SpineUnavailable):
        await relay.tick(older_than_s=0)

    assert (await on.store.outbox_backlog()).commits == 1
    await relay.tick(older_than_s=0)
    assert (await on.store.outbox_backlog()).commits == 0


async def test_new_work_is_refused_while_too_much_waits(on: SqliteBench) -> None:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, backlog_max=2)
    commits = await committed(on, 2)
    dispatcher.put(commits[0])
    dispatcher.admit(0, 10)
    dispatcher.put(commits[1])

    with pytest.raises(BacklogFull) as refused:
        dispatcher.admit(0, 10)

    assert refused.value.retry_after_s is not None
    dispatcher.start()
    await until(lambda: dispatcher.backlog == 0)
    dispatcher.admit(0, 10)
    with pytest.raises(BacklogFull):
        dispatcher.admit(10, 10)
    await dispatcher.stop()


async def test_what_waits_is_counted_by_changes_not_by_commits(on: SqliteBench) -> None:
    """A commit of a thousand jobs takes the memory of a thousand."""
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, backlog_max=3)
    _, commit = await on.store.accept([submission() for _ in range(3)])
    dispatcher.put(commit)

    assert dispatcher.backlog == 3
    with pytest.raises(BacklogFull):
        dispatcher.admit(0, 10)

    dispatcher.start()
    await until(lambda: dispatcher.backlog == 0)
    dispatcher.admit(0, 10)
    await dispatcher.stop()


async def test_an_announcement_is_in_the_log_without_a_number(on: SqliteBench) -> None:
    dispatcher = Dispatcher(on.store, on.spine, SOURCE, 1000)

    await dispatcher.announce([worker_event("started", worker(), 1_800_000_000_000_000, SOURCE)])

    (message,) = await on.spine.read_log(0, 10)
    assert (message.publisher, message.number) == (None, None)
    assert [event["type"] for event in json.loads(message.body)] == ["worker.started"]


async def test_a_dispatcher_may_be_stopped_twice_and_without_a_start(on: SqliteBench) -> None:
    never = Dispatcher(on.store, on.spine, SOURCE, 1000)
    await never.stop()
    await never.stop()
    twice = Dispatcher(on.store, on.spine, SOURCE, 1000)
    twice.start()
    await twice.stop()
    await twice.stop()


async def test_events_are_counted_by_whether_the_spine_confirmed_them(on: SqliteBench) -> None:
    spine = Unreliable(on.spine, publishes_at_once=on.spine.publishes_at_once)
    dispatcher = Dispatcher(on.store, spine, SOURCE, 1000)
    for commit in await committed(on, 3):
        dispatcher.put(commit)
    spine.before("publish", SpineUnavailable("away"))
    with pytest.raises(SpineUnavailable):
        await dispatcher.loops[0]._tick()
    assert dispatcher.published == {"confirmed": 0, "failed": 3}

    await dispatcher.stop()
    await dispatcher.announce([worker_event("started", worker(), 1, SOURCE)])

    assert dispatcher.published == {"confirmed": 4, "failed": 3}
