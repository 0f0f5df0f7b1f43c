"""The aggregates on Redis while it dies, forgets, freezes, or answers too late (decision 0011)."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from development.redis import RedisServer
from faults.proxy import Proxy
from observatory.backends.redis import aggregates as aggregates_module
from observatory.backends.redis.aggregates import RedisAggregates
from observatory.core.aggregates import RESOLUTIONS_S, Deltas, Position
from observatory.core.errors import AggregatesUnavailable, PositionMismatch
from observatory.core.instant import MICROSECONDS
from observatory.core.lifecycle import State
from observatory.services.read_model.freshness import Clock, Freshness
from observatory.services.read_model.stats import Statistics
from services.embedding import bench

pytestmark = pytest.mark.anyio

NOW_S = 1_800_000_000
FRESH = Freshness(NOW_S * MICROSECONDS, 10, 0.0, complete=True, rebuilding=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def aggregates(server: RedisServer) -> AsyncIterator[RedisAggregates]:
    if not server.alive:
        server.start()
    server.cli("FLUSHALL")
    aggregates = RedisAggregates(server.url())
    yield aggregates
    await aggregates.close()


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    """It stands still, and takes connections all the same."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def jobs(count: int, buckets: int = 1) -> Deltas:
    """So many jobs queued, and their creation counted in so many minutes."""
    deltas = Deltas()
    deltas.states["work", "q", State.QUEUED] = count
    for minute in range(buckets):
        at_us = (NOW_S + 60 * minute) * MICROSECONDS
        deltas.count(at_us, "work", "q", "created", amount=count)
    return deltas


def at(offset: int, **numbers: int) -> Position:
    return Position("epoch", offset, numbers)


async def counted(aggregates: RedisAggregates) -> int:
    rows, _ = await aggregates.states()
    return sum(row.count for row in rows)


async def answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What it says once Redis is back."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await ask()
        except AggregatesUnavailable:
            assert time.monotonic() < deadline, "Redis never came back"
            await asyncio.sleep(0.05)


async def test_a_batch_whose_answer_was_lost_is_counted_once(
    server: RedisServer, aggregates: RedisAggregates
) -> None:
    await aggregates.replace(at(10, a=1), jobs(5))
    with Proxy(server.url()) as line:
        far = RedisAggregates(line.url)
        assert await far.position() == at(10, a=1)
        assert await counted(far) == 5
        await aggregates.apply(10, at(11, a=2), jobs(1))  # the script is known to the server now
        line.cut_after = b"EVALSHA"

        with pytest.raises((AggregatesUnavailable, PositionMismatch)):
            await far.apply(11, at(12, a=3), jobs(2))

        assert line.cuts
        line.cut_after = None
        assert await answered(far.position) == at(12, a=3)
        with pytest.raises(PositionMismatch):
            await far.apply(11, at(12, a=3), jobs(2))
        await far.close()
    assert await counted(aggregates) == 8


async def test_killed_it_comes_back_with_sums_and_position_of_one_moment(
    server: RedisServer, aggregates: RedisAggregates
) -> None:
    await aggregates.replace(at(0), jobs(0))
    applied = 0

    async def go_on() -> None:
        nonlocal applied
        while True:
            await aggregates.apply(applied, at(applied + 1, a=applied + 1), jobs(1))
            applied += 1

    going = asyncio.create_task(go_on())
    while applied < 200:
        await asyncio.sleep(0.01)
    server.kill()
    with pytest.raises(AggregatesUnavailable):
        await going
    server.start()

    position = await answered(aggregates.position)
    # The process died and not the machine, so what it had written is there; the last step may have
    # happened without being answered.
    assert position is not None
    offset = position.offset
    assert 0 < offset <= applied + 1
    assert await counted(aggregates) == offset
    rows = await aggregates.series(60, 0)
    assert sum(row.count for row in rows) == offset
    assert position.numbers == {"a": offset}
    await aggregates.apply(offset, at(offset + 1), jobs(1))
    assert await counted(aggregates) == offset + 1


async def test_emptied_between_two_batches_it_takes_no_more(
    server: RedisServer, aggregates: RedisAggregates
) -> None:
    await aggregates.replace(at(10), jobs(5))
    server.cli("FLUSHALL")

    with pytest.raises(PositionMismatch):
        await aggregates.apply(10, at(11), jobs(1))

    assert await aggregates.position() is None
    assert await aggregates.states() == ([], 0)
    await aggregates.replace(at(11), jobs(6))
    assert await counted(aggregates) == 6


async def test_emptied_within_a_rebuild_it_is_not_complete(
    server: RedisServer, aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps before are lost, so what is shown at the end would lack them: no rebuild may end
    with a position and without its sums."""
    monkeypatch.setattr(aggregates_module, "_ROWS_AT_ONCE", 1)
    fills = 0
    fill = aggregates._fill  # pyright: ignore[reportPrivateUsage]

    async def emptied_after_the_second(*args: Any, **kwargs: Any) -> Any:
        nonlocal fills
        fills += 1
        done = await fill(*args, **kwargs)
        if fills == 2:
            server.cli("FLUSHALL")
        return done

    monkeypatch.setattr(aggregates, "_fill", emptied_after_the_second)

    with pytest.raises(AggregatesUnavailable):
        await aggregates.replace(at(10, a=1), jobs(5, buckets=4))

    assert await aggregates.position() is None
    monkeypatch.undo()
    await aggregates.replace(at(10, a=1), jobs(5, buckets=4))
    assert await counted(aggregates) == 5


async def test_a_step_of_a_rebuild_may_come_twice(
    aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = aggregates._fill  # pyright: ignore[reportPrivateUsage]

    async def twice(*args: Any, **kwargs: Any) -> Any:
        await fill(*args, **kwargs)
        return await fill(*args, **kwargs)

    monkeypatch.setattr(aggregates, "_fill", twice)

    await aggregates.replace(at(10, a=7), jobs(5, buckets=3))

    assert await counted(aggregates) == 5
    assert [row.count for row in await aggregates.series(60, 0)] == [5, 5, 5]
    assert await aggregates.position() == at(10, a=7)


async def test_a_rebuild_that_died_leaves_nothing_that_stays(
    server: RedisServer, aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    await aggregates.replace(at(10), jobs(5))
    before = set(server.cli("KEYS", "*").split())

    async def died(*args: Any, **kwargs: Any) -> Any:
        raise AggregatesUnavailable("killed here")

    monkeypatch.setattr(aggregates, "_show", died)
    with pytest.raises(AggregatesUnavailable):
        await aggregates.replace(at(20, a=1), jobs(9, buckets=3))

    left = set(server.cli("KEYS", "*").split()) - before
    assert left, "the rebuild wrote nothing before it died"
    assert all(int(server.cli("TTL", key)) > 0 for key in left)
    assert (await aggregates.position(), await counted(aggregates)) == (at(10), 5)


async def test_rebuilding_again_and_again_keeps_one_generation(
    server: RedisServer, aggregates: RedisAggregates
) -> None:
    sizes: list[int] = []
    for n in range(5):
        await aggregates.replace(at(10 + n, a=n), jobs(5, buckets=20))
        sizes.append(int(server.cli("DBSIZE")))
    assert len(set(sizes)) == 1, sizes
    lasting = [key for key in server.cli("KEYS", "*").split() if int(server.cli("TTL", key)) < 0]
    # current, and of the one generation: states, totals, numbers, seen and an index a resolution.
    assert len(lasting) <= 5 + len(RESOLUTIONS_S)


async def test_a_publisher_not_seen_for_a_month_is_forgotten(
    aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    await aggregates.replace(at(10, old=3), jobs(5))
    await asyncio.sleep(2.1)  # Redis tells the time of publishers in seconds
    await aggregates.apply(10, at(11, new=1), jobs(1))
    await aggregates.trim(NOW_S)
    assert await aggregates.position() == at(11, old=3, new=1)

    monkeypatch.setattr(aggregates_module, "_PUBLISHER_KEPT_S", 1)
    await aggregates.trim(NOW_S)

    assert await aggregates.position() == at(11, new=1)


async def test_scripts_that_the_server_forgot_are_sent_again(
    server: RedisServer, aggregates: RedisAggregates
) -> None:
    await aggregates.replace(at(10), jobs(5))
    server.cli("SCRIPT", "FLUSH")
    await aggregates.apply(10, at(11), jobs(1))
    assert await counted(aggregates) == 6


async def test_a_frozen_server_is_an_error_in_bounded_time(
    server: RedisServer, aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregates_module, "_ANSWER_TIMEOUT_S", 0.5)
    impatient = RedisAggregates(server.url())
    await impatient.replace(at(10), jobs(5))
    with frozen(server):
        began = time.monotonic()
        with pytest.raises(AggregatesUnavailable):
            await impatient.apply(10, at(11), jobs(1))
        assert time.monotonic() - began < 5
    # What was sent meanwhile may be executed now; either way sums and position agree.
    position = await answered(impatient.position)
    assert position is not None
    assert await counted(impatient) == 5 + (position.offset - 10)
    await impatient.close()


async def test_a_connection_that_closes_as_it_is_written_to_is_an_outage_and_no_fault_of_ours(
    aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed(*_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    await aggregates.replace(at(10), jobs(5))
    with monkeypatch.context() as patched:
        patched.setattr(redis.asyncio.Connection, "send_packed_command", closed)
        with pytest.raises(AggregatesUnavailable, match="closed=True"):
            await aggregates.position()
    assert await aggregates.position() == at(10)


async def test_a_view_waits_for_a_frozen_server_less_long_and_only_once(
    server: RedisServer, aggregates: RedisAggregates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregates_module, "_ANSWER_TIMEOUT_S", 2.0)
    monkeypatch.setattr(aggregates_module, "_VIEW_TIMEOUT_S", 0.5)
    impatient = RedisAggregates(server.url())
    await impatient.replace(at(10), jobs(5))
    with frozen(server):
        for ask, within_s in (
            (impatient.states, 1.5),
            (lambda: impatient.changes(60, 0, None), 1.5),
            (impatient.position, 3.5),  # by the limit of an answer; repeated it would be twice that
        ):
            began = time.monotonic()
            with pytest.raises(AggregatesUnavailable):
                await ask()
            assert time.monotonic() - began < within_s
    assert await answered(impatient.position) == at(10)
    assert await counted(impatient) == 5
    await impatient.close()


async def test_statistics_of_a_frozen_server_are_refused_in_five_seconds_or_so(
    server: RedisServer, aggregates: RedisAggregates, tmp_path: Path, empty_database: Path
) -> None:
    await aggregates.replace(at(10), jobs(5))
    async with bench(tmp_path, empty_database) as on:
        clock = Clock(on.store, on.spine, aggregates)
        told = Statistics(aggregates, on.store)

        async def refused() -> float:
            began = time.monotonic()
            with pytest.raises(AggregatesUnavailable):
                await told.series(await clock.freshness(), 900, 5, None, None)
            return time.monotonic() - began

        with frozen(server):
            # Those who ask at once wait side by side, and not one after another.
            took = await asyncio.gather(*(refused() for _ in range(5)))
            began = time.monotonic()
            with pytest.raises(AggregatesUnavailable):
                await told.stats(await clock.freshness(), 900)
            alone_s = time.monotonic() - began
        assert max(took) < 6.5
        assert alone_s < 6.5

        # They come back by themselves.
        assert (await answered(lambda: told.stats(FRESH, 900)))["states"]["queued"] == 5
