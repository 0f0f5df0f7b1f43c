"""The spine on RabbitMQ while the broker dies, refuses, forgets, and is handed what is not ours."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiormq
import pytest
from pamqp.commands import Basic

from conformance.making import named, new_id
from development.rabbitmq import RabbitmqServer
from faults.proxy import Proxy
from observatory.backends.rabbitmq.link import DEADLINE_S
from observatory.backends.rabbitmq.spine import RabbitmqSpine
from observatory.backends.rabbitmq.stream import StreamReader
from observatory.backends.rabbitmq.topology import DEAD, STREAM, work_queue
from observatory.core.errors import ConfigurationError, SpineUnavailable
from observatory.core.spine import LogEntry, WorkConsumer, WorkMessage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

BACK_S = 40.0
"""A broker that starts again serves all its queues after so long at most."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqServer]:
    server = RabbitmqServer(tmp_path_factory.mktemp("rabbitmq")).start()
    server.ctl("await_startup")  # It answers a little before it can be told anything.
    yield server
    server.kill()


@pytest.fixture
def host(server: RabbitmqServer, request: pytest.FixtureRequest) -> str:
    """A virtual host of this test."""
    name = request.node.name.partition("[")[0]
    server.add_vhost(name)
    return name


@pytest.fixture
async def spine(server: RabbitmqServer, host: str) -> AsyncIterator[RabbitmqSpine]:
    spine = RabbitmqSpine(server.url(host))
    await spine.open()
    yield spine
    await spine.close()


@contextlib.asynccontextmanager
async def over_a_line(
    server: RabbitmqServer, host: str
) -> AsyncIterator[tuple[Proxy, RabbitmqSpine]]:
    """A spine that has found its broker, and the line between the two."""
    with Proxy(server.url(host)) as line:
        spine = RabbitmqSpine(line.url)
        await spine.open()
        try:
            await spine.check()
            yield line, spine
        finally:
            line.held = False
            await spine.close()


def work(job: str | None = None) -> WorkMessage:
    return WorkMessage("q", "normal", (named(job or new_id()),))


async def ctl(server: RabbitmqServer, *arguments: str) -> str:
    return await asyncio.to_thread(server.ctl, *arguments)


async def patiently(act: Callable[[], Awaitable[object]]) -> None:
    """As the dispatcher does: again, until the spine takes it."""
    async with asyncio.timeout(BACK_S):
        while True:
            try:
                await act()
            except SpineUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def take(consumer: WorkConsumer, wanted: set[WorkMessage]) -> None:
    """Until each of these has come; repeats and others are acknowledged and forgotten."""
    missing = set(wanted)
    async with asyncio.timeout(BACK_S):
        while missing:
            try:
                taken = await consumer.take(10, 1.0)
            except SpineUnavailable:
                await asyncio.sleep(0.1)
                continue
            consumer.acknowledge(taken)
            missing -= {delivery.message for delivery in taken}


async def log_bodies(spine: RabbitmqSpine) -> list[bytes]:
    bodies: list[bytes] = []

    async def read() -> None:
        log = await spine.log_range()
        after = log.first - 1
        bodies.clear()
        while page := await spine.read_log(after, 100):
            bodies.extend(message.body for message in page)
            after = page[-1].offset

    await patiently(read)
    return bodies


async def works_again(spine: RabbitmqSpine, consumer: WorkConsumer, before: WorkMessage) -> None:
    """What was confirmed before comes, and so does what is published from now on."""
    after = work()
    await patiently(lambda: spine.publish([LogEntry(b'["after"]', "boot-a", 2)], [after]))
    await take(consumer, {before, after})
    bodies = await log_bodies(spine)
    assert bodies[0] == b'["before"]'
    assert bodies[-1] == b'["after"]'


async def test_a_killed_broker_comes_back_with_all_it_confirmed(
    server: RabbitmqServer, spine: RabbitmqSpine
) -> None:
    consumer = spine.consume(["q"])
    assert await consumer.take(1, 0.5) == []
    # RabbitMQ 3.10 loses a queue for good that is killed in the moment it was declared.
    await asyncio.to_thread(server.restart)
    before = work()
    await patiently(lambda: spine.publish([LogEntry(b'["before"]', "boot-a", 1)], [before]))

    await asyncio.to_thread(server.kill)
    with pytest.raises(SpineUnavailable):
        await spine.publish([], [work()])
    await asyncio.to_thread(server.start)

    await works_again(spine, consumer, before)


async def test_a_stopped_application_is_waited_for(
    server: RabbitmqServer, spine: RabbitmqSpine
) -> None:
    consumer = spine.consume(["q"])
    before = work()
    await spine.publish([LogEntry(b'["before"]', "boot-a", 1)], [before])

    await ctl(server, "stop_app")
    with pytest.raises(SpineUnavailable):
        await spine.publish([], [work()])
    with pytest.raises(SpineUnavailable):
        await spine.log_range()
    await ctl(server, "start_app")

    await works_again(spine, consumer, before)


async def test_closed_connections_are_made_anew_again_and_again(
    server: RabbitmqServer, spine: RabbitmqSpine, host: str
) -> None:
    consumer = spine.consume(["q"])
    await spine.publish([LogEntry(b'["before"]', "boot-a", 1)], [])
    tasks_of_a_session: list[int] = []
    for _ in range(5):
        await ctl(server, "close_all_connections", "--vhost", host, "a test")
        between = work()
        await patiently(lambda message=between: spine.publish([], [message]))
        await take(consumer, {between})
        await log_bodies(spine)
        tasks_of_a_session.append(len(asyncio.all_tasks()))

    assert max(tasks_of_a_session) <= tasks_of_a_session[0] + 5, "tasks of lost sessions stay"
    assert (await log_bodies(spine))[0] == b'["before"]'


async def test_a_queue_deleted_under_its_consumer_is_made_again(
    server: RabbitmqServer, spine: RabbitmqSpine, host: str
) -> None:
    consumer = spine.consume(["q"])
    first = work()
    await spine.publish([], [first])
    await take(consumer, {first})

    await ctl(server, "delete_queue", "-p", host, work_queue("q", "normal"))

    second = work()
    await patiently(lambda: spine.publish([], [second]))
    await take(consumer, {second})


async def test_a_memory_alarm_refuses_in_time_and_goes_on_giving(
    server: RabbitmqServer, spine: RabbitmqSpine
) -> None:
    consumer = spine.consume(["q"])
    waiting = [work() for _ in range(30)]
    await spine.publish([LogEntry(b'["before"]', "boot-a", 1)], waiting)

    await ctl(server, "set_vm_memory_high_watermark", "0.0000001")
    try:
        refused = work()
        began = time.monotonic()
        with pytest.raises(SpineUnavailable):
            await spine.publish([], [refused])
        assert time.monotonic() - began < 7
        await take(consumer, set(waiting))
        assert await log_bodies(spine) == [b'["before"]']
        await spine.check()  # It is there, and another alert tells of alarms.
    finally:
        await ctl(server, "set_vm_memory_high_watermark", "absolute", "1GB")

    await patiently(lambda: spine.publish([], [refused]))
    await take(consumer, {refused})


async def test_a_broker_that_hangs_is_not_said_to_be_there(
    server: RabbitmqServer, host: str
) -> None:
    async with over_a_line(server, host) as (line, spine):
        # Its connections stand, and nothing comes through them.
        line.held = True
        began = time.monotonic()
        with pytest.raises(SpineUnavailable, match="does not answer in time"):
            await spine.check()
        assert time.monotonic() - began < DEADLINE_S + 5
        line.held = False
        line.cut()
        await patiently(spine.check)


async def test_who_does_not_wait_to_learn_whether_a_broker_is_there_keeps_nobody_from_it(
    server: RabbitmqServer, host: str
) -> None:
    async with over_a_line(server, host) as (line, spine):
        line.delay_s = 0.5
        patient = asyncio.create_task(spine.check())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await spine.check()
        await patient
        line.delay_s = 0.0
        await spine.check()


async def test_what_cannot_be_read_is_put_aside_with_its_reason(
    server: RabbitmqServer, spine: RabbitmqSpine, host: str
) -> None:
    consumer = spine.consume(["q"])
    fine = work()
    await spine.publish([], [fine])
    connection = await aiormq.connect(server.url(host))
    channel = await connection.channel()
    await channel.basic_publish(b"\xff no message", routing_key=work_queue("q", "normal"))
    after = work()
    await spine.publish([], [after])

    await take(consumer, {fine, after})

    async with asyncio.timeout(10):
        while isinstance((dead := await channel.basic_get(DEAD)).delivery, Basic.GetEmpty):
            await asyncio.sleep(0.05)
    headers = dead.header.properties.headers or {}
    assert dead.body == b"\xff no message"
    assert headers["queue"] == work_queue("q", "normal")
    assert headers["reason"]
    assert await consumer.take(1, 0.5) == []
    await connection.close()


async def test_a_deleted_log_is_made_anew_and_says_so(
    server: RabbitmqServer, spine: RabbitmqSpine, host: str
) -> None:
    await spine.publish([LogEntry(b"[1]"), LogEntry(b"[2]")], [])
    before = await spine.log_range()
    other = RabbitmqSpine(server.url(host))
    await other.open()
    assert (await other.log_range()).epoch == before.epoch

    await ctl(server, "delete_queue", "-p", host, STREAM)

    await patiently(lambda: spine.publish([LogEntry(b"[3]")], []))
    assert await log_bodies(spine) == [b"[3]"]
    assert await log_bodies(other) == [b"[3]"]
    epochs = {(await s.log_range()).epoch for s in (spine, other)}
    assert len(epochs) == 1
    assert epochs != {before.epoch}
    await other.close()


async def test_a_queue_of_another_kind_is_a_mistake_that_is_told(
    server: RabbitmqServer, host: str
) -> None:
    connection = await aiormq.connect(server.url(host))
    channel = await connection.channel()
    await channel.queue_declare(DEAD, durable=True)
    await connection.close()
    spine = RabbitmqSpine(server.url(host))

    with pytest.raises(ConfigurationError, match=DEAD):
        await spine.open()
    with pytest.raises(ConfigurationError, match=DEAD):
        await spine.publish([], [work()])
    await spine.close()


async def test_a_broker_that_is_not_there_is_not_waited_for(server: RabbitmqServer) -> None:
    spine = RabbitmqSpine("amqp://guest:guest@127.0.0.1:1/")
    began = time.monotonic()
    await spine.open()
    with pytest.raises(SpineUnavailable):
        await spine.publish([], [work()])
    consumer = spine.consume(["q"])
    with contextlib.suppress(SpineUnavailable):
        assert await consumer.take(1, 1.0) == []
    await spine.close()
    assert time.monotonic() - began < 5


# Following the log


async def test_the_end_of_the_log_is_followed_only_while_somebody_asks(
    spine: RabbitmqSpine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = spine._log  # pyright: ignore[reportPrivateUsage]
    await spine.check()
    assert log._current is None  # pyright: ignore[reportPrivateUsage]
    await spine.publish([LogEntry(b"1", "boot", 1)], [])
    last = (await spine.log_range()).last
    session = await spine._link.state()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr("observatory.backends.rabbitmq.log._IDLE_S", 0.2)

    async with asyncio.timeout(10):
        while log._current is not None:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.05)
    await spine.publish([LogEntry(b"2", "boot", 2)], [])
    await asyncio.sleep(1)  # the reader is detached by then

    assert not session.lost.is_set()
    assert [m.body for m in await spine.read_log(last, 10)] == [b"2"]
    assert [m.body for m in await spine.read_log(0, 10)] == [b"1", b"2"]
    monkeypatch.undo()
    waiting = asyncio.create_task(spine.wait_log((await spine.log_range()).last, 5))
    await asyncio.sleep(0.1)
    await spine.publish([LogEntry(b"3", "boot", 3)], [])
    assert await waiting


async def test_the_end_of_the_log_is_not_followed_for_trimming_alone(spine: RabbitmqSpine) -> None:
    log = spine._log  # pyright: ignore[reportPrivateUsage]
    for number in range(3):
        await spine.publish([LogEntry(b"1", "boot", number + 1)], [])

    assert await spine.trim_log(time.time_ns() // 1000 + 60_000_000) == 3

    async with asyncio.timeout(5):  # those who read are followed for half a minute
        while log._current is not None:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.05)


async def test_trimming_does_not_end_what_others_follow(spine: RabbitmqSpine) -> None:
    await spine.publish([LogEntry(b"1", "boot", 1)], [])
    last = (await spine.log_range()).last
    followed = spine._log._current  # pyright: ignore[reportPrivateUsage]

    await spine.trim_log(0)
    await asyncio.sleep(1)  # it would be detached by then

    assert followed is not None
    assert spine._log._current is followed  # pyright: ignore[reportPrivateUsage]
    assert [m.body for m in await spine.read_log(last - 1, 10)] == [b"1"]


async def test_a_log_that_has_gone_silent_is_found_out(
    server: RabbitmqServer, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.backends.rabbitmq.log._PROVE_AFTER_S", 0.5)
    monkeypatch.setattr("observatory.backends.rabbitmq.log.DEADLINE_S", 1.0)
    reader, writer = RabbitmqSpine(server.url(host)), RabbitmqSpine(server.url(host))
    try:
        await writer.open()
        await reader.open()
        await writer.publish([LogEntry(b'["before"]', "boot-a", 1)], [])
        assert await reader.wait_log(0, 5.0)
        at = (await reader.log_range()).last

        # The broker forgets the consumer and tells nobody, as after a fault of its own.
        tail: Any = reader._log._current
        channel = tail.reader._channel
        (tag,) = channel.consumers
        await channel.rpc(Basic.Cancel(consumer_tag=tag))
        await writer.publish([LogEntry(b'["after"]', "boot-a", 2)], [])
        assert not await reader.wait_log(at, 0.2), "vacuous: it heard of it"

        async def heard() -> None:
            if not await reader.wait_log(at, 5.0):
                raise SpineUnavailable("nothing came")

        await patiently(heard)
        (message,) = await reader.read_log(at, 10)
        assert message.body == b'["after"]'
        assert tail.session.lost.is_set()
    finally:
        await reader.close()
        await writer.close()


async def test_a_quiet_log_that_still_gives_keeps_its_session(
    spine: RabbitmqSpine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.backends.rabbitmq.log._PROVE_AFTER_S", 0.2)
    end = (await spine.log_range()).last
    tail: Any = spine._log._current
    before = tail.end

    assert not await spine.wait_log(end, 2.0)

    assert tail.end > before, "vacuous: it was not asked to prove itself"
    assert spine._log._current is tail
    assert not tail.session.lost.is_set()


async def test_what_was_read_before_the_end_is_read_from_the_broker_once(
    server: RabbitmqServer, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def published(*numbers: int) -> None:
        spine = RabbitmqSpine(server.url(host))
        await spine.open()
        await spine.publish([LogEntry(b"%d" % n, "older", n) for n in numbers], [])
        await spine.close()

    # A process each, so that the end begins with a chunk that does not hold them all.
    for number in range(1, 5):
        await published(number)
    spine = RabbitmqSpine(server.url(host))
    await spine.open()
    await spine.log_range()
    opened = 0
    open_reader = StreamReader.open

    async def counted(*arguments: Any, **named: Any) -> StreamReader:
        nonlocal opened
        opened += 1
        return await open_reader(*arguments, **named)

    monkeypatch.setattr(StreamReader, "open", counted)
    first = [m.body for m in await spine.read_log(0, 100)]
    read_once = opened
    again = [m.body for m in await spine.read_log(0, 100)]
    await spine.close()

    assert first == again == [b"1", b"2", b"3", b"4"]
    assert read_once == 1
    assert opened == 1


async def test_who_asks_after_a_session_was_lost_is_given_the_next(spine: RabbitmqSpine) -> None:
    link = spine._link  # pyright: ignore[reportPrivateUsage]
    session = await link.state()

    session.lose("a test")

    assert await link.state() is not session


async def test_work_that_is_refused_for_a_moment_is_sent_again(
    server: RabbitmqServer, host: str, spine: RabbitmqSpine
) -> None:
    """As a queue refuses that another process just declares, and one that is full."""
    held = [work()]
    await patiently(lambda: spine.publish([], held))
    await ctl(
        server, "set_policy", "-p", host, "full", work_queue("q", "normal"), '{"max-length": 1}'
    )

    async def fill() -> None:
        for _ in range(10):  # It holds a few more than it may.
            await spine.publish([], [extra := work()])
            held.append(extra)

    with pytest.raises(SpineUnavailable, match="refuses"):
        await fill()

    late = work()
    publishing = asyncio.create_task(spine.publish([], [late]))
    consumer = spine.consume(["q"])
    await take(consumer, set(held))
    await publishing
    await take(consumer, {late})
