"""What every spine must do."""

import asyncio

import pytest

from conformance.benches import SpineBench
from conformance.making import named, new_id
from observatory.core.instant import MICROSECONDS
from observatory.core.job import Reference, Transition
from observatory.core.lifecycle import Move, State
from observatory.core.spine import Delivery, LogEntry, Spine, WorkConsumer, WorkMessage

pytestmark = pytest.mark.anyio

SOON_S = 10.0
"""What is there or comes is waited for this long; a passing test never does."""

NEVER_S = 0.05
"""How long to make sure that nothing comes."""

REASON = "no handler here"


def work(*jobs: str, queue: str = "q", priority: str = "normal") -> WorkMessage:
    return WorkMessage(queue, priority, tuple(named(job) for job in jobs or (new_id(),)))


def waiting(job: str) -> Transition:
    return Transition(
        job=job, version=1, move=Move.ACCEPT, at=1, type="work", queue="q", priority="normal",
        attempt=0, state=State.QUEUED,
    )  # fmt: skip


async def take(consumer: WorkConsumer, count: int) -> list[Delivery]:
    """This many messages, however they are portioned."""
    taken: list[Delivery] = []
    async with asyncio.timeout(SOON_S):
        while len(taken) < count:
            taken += await consumer.take(count - len(taken), SOON_S)
    return taken


async def messages(consumer: WorkConsumer, count: int) -> list[WorkMessage]:
    return [delivery.message for delivery in await take(consumer, count)]


async def settle(spine: Spine, consumer: WorkConsumer, delivery: Delivery) -> None:
    """Acknowledge, which is not waited for, and wait until it is so."""
    consumer.acknowledge([delivery])
    gone = [waiting(reference.id) for reference in delivery.message.jobs]
    async with asyncio.timeout(SOON_S):
        while await spine.missing(gone) != gone:
            await asyncio.sleep(0.01)


async def read_all(spine: Spine, after: int = 0, limit: int = 100) -> list[bytes]:
    return [message.body for message in await spine.read_log(after, limit)]


# Work queues


async def test_a_message_arrives_as_it_was_published(spine: Spine) -> None:
    references = (
        Reference(new_id(), 0, "work", 1),
        Reference(new_id(), 7, "email.send", 3, suspect=True),
    )
    message = WorkMessage("q", "high", references)
    consumer = spine.consume(["q"])

    await spine.publish([], [message])

    assert await messages(consumer, 1) == [message]


async def test_what_was_published_before_anyone_took_is_kept(spine: Spine) -> None:
    message = work()
    await spine.publish([], [message])

    assert await messages(spine.consume(["q"]), 1) == [message]


async def test_messages_of_one_queue_come_in_order(spine: Spine) -> None:
    given = [work() for _ in range(20)]
    for message in given:
        await spine.publish([], [message])

    assert await messages(spine.consume(["q"]), 20) == given


async def test_no_more_is_taken_than_asked_for(spine: Spine) -> None:
    await spine.publish([], [work() for _ in range(5)])
    consumer = spine.consume(["q"])

    assert 1 <= len(await consumer.take(2, SOON_S)) <= 2


async def test_taking_from_empty_queues_returns_after_the_timeout(spine: Spine) -> None:
    consumer = spine.consume(["q"])
    assert await consumer.take(1, NEVER_S) == []

    message = work()
    await spine.publish([], [message])
    assert await messages(consumer, 1) == [message]


async def test_one_who_waits_is_woken_by_a_message(spine: Spine) -> None:
    consumer = spine.consume(["q"])
    taking = asyncio.create_task(take(consumer, 1))
    await asyncio.sleep(0)
    message = work()

    await spine.publish([], [message])

    assert [d.message for d in await taking] == [message]


async def test_the_highest_priority_is_taken_first(spine: Spine) -> None:
    low, normal, high = [work(priority=p) for p in ("low", "normal", "high")]
    await spine.publish([], [low])
    await spine.publish([], [normal, high])

    assert await messages(spine.consume(["q"]), 3) == [high, normal, low]


async def test_only_the_queues_asked_for_are_taken_from(spine: Spine) -> None:
    q1, q2, q3 = [work(queue=queue) for queue in ("q1", "q2", "q3")]
    await spine.publish([], [q1, q2, q3])
    consumer = spine.consume(["q1", "q3"])

    assert set(await messages(consumer, 2)) == {q1, q3}
    assert await consumer.take(1, NEVER_S) == []
    assert await messages(spine.consume(["q2"]), 1) == [q2]


async def test_what_was_not_acknowledged_is_delivered_to_the_next(spine: Spine) -> None:
    kept, settled = work(), work()
    await spine.publish([], [kept, settled])
    consumer = spine.consume(["q"])
    first, second = await take(consumer, 2)
    assert first.message == kept
    await settle(spine, consumer, second)

    await consumer.close()

    again = spine.consume(["q"])
    assert await messages(again, 1) == [kept]
    assert await again.take(1, NEVER_S) == []


async def test_what_was_not_acknowledged_outlives_the_process(spine_bench: SpineBench) -> None:
    kept, settled, never_taken = work(), work(), work()
    await spine_bench.spine.publish([], [kept, settled])
    consumer = spine_bench.spine.consume(["q"])
    first, second = await take(consumer, 2)
    assert (first.message, second.message) == (kept, settled)
    await settle(spine_bench.spine, consumer, second)
    await spine_bench.spine.publish([], [never_taken])

    await spine_bench.restart()

    again = spine_bench.spine.consume(["q"])
    # In which order what was given back and what was never taken come is not promised.
    assert set(await messages(again, 2)) == {kept, never_taken}
    assert await again.take(1, NEVER_S) == []


async def test_a_closed_consumer_is_not_waited_for(spine: Spine) -> None:
    await spine.consume(["q"]).close()
    message = work()

    await spine.publish([], [message])

    assert await messages(spine.consume(["q"]), 1) == [message]


async def test_processes_that_share_queues_share_their_messages(spine: Spine) -> None:
    given = [work() for _ in range(10)]
    await spine.publish([], given)
    first = spine.consume(["q"])
    taken = await take(first, 5)
    if not spine.shared:
        # One process alone takes: whatever it has not settled is its own to take once.
        assert [d.message for d in taken] + await messages(first, 5) == given
        return

    second = await take(spine.consume(["q"]), 5)

    assert {d.message for d in taken} | {d.message for d in second} == set(given)


# Parking and missing


async def test_a_parked_message_waits_for_a_processor_that_starts_anew(
    spine_bench: SpineBench,
) -> None:
    spine = spine_bench.spine
    message = work()
    await spine.publish([], [message])
    consumer = spine.consume(["q"])
    (delivery,) = await take(consumer, 1)

    await spine.park(message, REASON)
    consumer.acknowledge([delivery])
    assert await consumer.take(1, NEVER_S) == []

    await spine_bench.restart()
    assert await messages(spine_bench.spine.consume(["q"]), 1) == [message]


async def test_jobs_that_a_queue_holds_are_not_missing(spine: Spine) -> None:
    held, together, parked, taken, lost = [new_id() for _ in range(5)]
    await spine.publish([], [work(taken)])
    consumer = spine.consume(["q"])
    (delivery,) = await take(consumer, 1)
    await spine.publish([], [work(held, together)])
    await spine.park(work(parked), REASON)

    jobs = [waiting(job) for job in (held, together, parked, taken, lost)]
    assert [t.job for t in await spine.missing(jobs)] == [lost]

    await settle(spine, consumer, delivery)
    assert [t.job for t in await spine.missing(jobs)] == [taken, lost]


async def test_nothing_is_missing_of_nothing(spine: Spine) -> None:
    assert await spine.missing([]) == []


# The event log


async def test_the_log_gives_back_what_was_published_in_order(spine: Spine) -> None:
    await spine.publish([LogEntry(b'["a"]', "boot-a", 1), LogEntry(b'["b"]')], [])
    await spine.publish([LogEntry(b'["c"]', "boot-b", 9)], [work()])

    read = await spine.read_log((await spine.log_range()).first - 1, 100)

    assert [(m.body, m.publisher, m.number) for m in read] == [
        (b'["a"]', "boot-a", 1),
        (b'["b"]', None, None),
        (b'["c"]', "boot-b", 9),
    ]
    offsets = [m.offset for m in read]
    assert offsets == sorted(set(offsets))
    assert (await spine.log_range()).last == offsets[-1]


async def test_reading_goes_on_exactly_where_it_stopped(spine: Spine) -> None:
    bodies = [b"[%d]" % n for n in range(10)]
    for body in bodies:
        await spine.publish([LogEntry(body)], [])

    read, offset = [], (await spine.log_range()).first - 1
    while page := await spine.read_log(offset, 3):
        assert len(page) <= 3
        read += [message.body for message in page]
        offset = page[-1].offset

    assert read == bodies
    assert await spine.read_log(offset, 3) == []


@pytest.mark.parametrize("anew", [False, True], ids=["at hand", "older"])
async def test_reading_is_bounded_by_bytes_and_gives_one_message_however_large(
    spine_bench: SpineBench, anew: bool
) -> None:
    sizes = [10, 10, 10, 50, 10, 10]
    start = (await spine_bench.spine.log_range()).last
    for size in sizes:
        await spine_bench.spine.publish([LogEntry(b"x" * size)], [])
    if anew:
        await spine_bench.restart()
        await spine_bench.spine.publish([LogEntry(b"x")], [])
    spine = spine_bench.spine

    read: list[list[int]] = []
    after = start
    while page := await spine.read_log(after, 2, bytes_max=25):
        read.append([len(message.body) for message in page])
        after = page[-1].offset

    assert read == [[10, 10], [10], [50], [10, 10], *([[1]] if anew else [])]


async def test_the_log_outlives_the_process_and_goes_on_counting(spine_bench: SpineBench) -> None:
    await spine_bench.spine.publish([LogEntry(b"[1]")], [])
    before = await spine_bench.spine.log_range()

    await spine_bench.restart()

    assert await spine_bench.spine.log_range() == before
    await spine_bench.spine.publish([LogEntry(b"[2]")], [])
    (message,) = await spine_bench.spine.read_log(before.last, 10)
    assert message.body == b"[2]"
    assert message.offset > before.last


async def test_an_empty_log_has_a_range_that_says_so(spine: Spine) -> None:
    log = await spine.log_range()

    assert log.last == log.first - 1
    assert await spine.read_log(log.last, 10) == []


async def test_waiting_ends_when_the_log_grows(spine: Spine) -> None:
    last = (await spine.log_range()).last
    wait = asyncio.create_task(spine.wait_log(last, SOON_S))
    await asyncio.sleep(0)

    await spine.publish([LogEntry(b"[1]")], [])

    assert await wait
    assert await spine.wait_log(last, SOON_S), "it is already beyond"


async def test_waiting_for_a_log_that_does_not_grow_ends_at_the_timeout(spine: Spine) -> None:
    assert not await spine.wait_log((await spine.log_range()).last, NEVER_S)


async def test_trimming_drops_what_is_older_and_keeps_the_offsets(spine_bench: SpineBench) -> None:
    spine = spine_bench.spine
    await spine.publish([LogEntry(b"[1]"), LogEntry(b"[2]")], [])
    await spine_bench.advance(3600)
    await spine.publish([LogEntry(b"[3]")], [])
    before = await spine.log_range()
    (*_, newest) = await spine.read_log(before.first - 1, 10)

    dropped = await spine.trim_log(await spine_bench.now() - 1800 * MICROSECONDS)

    log = await spine.log_range()
    assert dropped == 2
    assert (log.epoch, log.first, log.last) == (before.epoch, newest.offset, newest.offset)
    assert await read_all(spine, before.first - 1) == [b"[3]"]


async def test_a_log_trimmed_to_nothing_never_uses_an_offset_again(spine_bench: SpineBench) -> None:
    await spine_bench.spine.publish([LogEntry(b"[1]"), LogEntry(b"[2]")], [])
    before = await spine_bench.spine.log_range()
    await spine_bench.advance(3600)
    assert await spine_bench.spine.trim_log(await spine_bench.now()) == 2
    assert await spine_bench.spine.trim_log(await spine_bench.now()) == 0

    await spine_bench.restart()

    log = await spine_bench.spine.log_range()
    assert (log.epoch, log.last) == (before.epoch, before.last)
    assert log.first == log.last + 1
    await spine_bench.spine.publish([LogEntry(b"[3]")], [])
    (message,) = await spine_bench.spine.read_log(before.last, 10)
    assert message.offset > before.last


async def test_a_log_made_anew_has_another_epoch(spine_bench: SpineBench) -> None:
    before = (await spine_bench.spine.log_range()).epoch
    await spine_bench.restart()
    assert (await spine_bench.spine.log_range()).epoch == before

    await spine_bench.renew()

    assert (await spine_bench.spine.log_range()).epoch != before


async def test_publishing_again_repeats_and_harms_nothing(spine: Spine) -> None:
    entry, message = LogEntry(b"[1]", "boot-a", 1), work()
    for _ in range(2):
        await spine.publish([entry], [message])

    assert await messages(spine.consume(["q"]), 2) == [message, message]
    assert await read_all(spine, (await spine.log_range()).first - 1) == [b"[1]", b"[1]"]


async def test_what_cannot_be_read_is_put_aside_and_counted(spine_bench: SpineBench) -> None:
    spine = spine_bench.spine
    consumer = spine.consume(["q"])
    message = work()
    await spine.publish([], [message])
    assert await messages(consumer, 1) == [message]
    assert await spine.dead_letters() == 0

    await spine_bench.spoil("q")
    await spine.publish([], [message])

    assert await messages(consumer, 1) == [message]
    async with asyncio.timeout(SOON_S):
        while await spine.dead_letters() != 1:
            await asyncio.sleep(0.01)
