"""A loop ticks until it is stopped, whenever that comes."""

import asyncio

import pytest

from observatory.runtime.loop import Loop

pytestmark = pytest.mark.anyio

FOREVER_S = 3600.0


class Ticks:
    """Counts ticks; may be told what to answer, and to wait inside a tick."""

    def __init__(self, *answers: object) -> None:
        self.count = 0
        self.ended = 0
        self.answers = list(answers)
        self.ticked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> object:
        self.count += 1
        self.ticked.set()
        await self.open.wait()
        self.ended += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def reached(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.count < count:
                self.ticked.clear()
                await self.ticked.wait()


async def test_a_loop_ticks_at_once_and_then_at_its_interval() -> None:
    ticks = Ticks()
    loop = Loop("test", ticks, 0.001)

    loop.start()
    await ticks.reached(3)
    await loop.stop()

    assert ticks.count == ticks.ended


async def test_a_tick_that_found_more_to_do_is_called_again_at_once() -> None:
    ticks = Ticks(True, 1, "more", False)
    loop = Loop("test", ticks, FOREVER_S)

    loop.start()
    await ticks.reached(4)
    await loop.stop()

    assert ticks.count == 4


async def test_a_loop_that_is_woken_does_not_wait_for_its_interval() -> None:
    ticks = Ticks()
    loop = Loop("test", ticks, FOREVER_S)
    loop.start()
    await ticks.reached(1)

    loop.wake()
    await ticks.reached(2)
    await loop.stop()


async def test_a_wake_that_comes_during_a_tick_is_not_forgotten() -> None:
    ticks = Ticks()
    ticks.open.clear()
    loop = Loop("test", ticks, FOREVER_S)
    loop.start()
    await ticks.reached(1)

    loop.wake()
    ticks.open.set()

    await ticks.reached(2)
    await loop.stop()


async def test_a_loop_may_be_stopped_twice() -> None:
    ticks = Ticks()
    loop = Loop("test", ticks, FOREVER_S)
    loop.start()
    await ticks.reached(1)

    await asyncio.gather(loop.stop(), loop.stop())
    await loop.stop()

    assert ticks.count == 1


async def test_a_loop_that_was_never_started_may_be_stopped() -> None:
    ticks = Ticks()
    loop = Loop("test", ticks, FOREVER_S)

    await loop.stop()

    assert ticks.count == 0


async def test_a_loop_stopped_before_its_start_does_not_tick() -> None:
    ticks = Ticks()
    loop = Loop("test", ticks, FOREVER_S)
    await loop.stop()

    loop.start()
    await loop.stop()

    assert ticks.count == 0


async def test_a_loop_stopped_during_its_start_ends() -> None:
    ticks = Ticks()
    loop = Loop("test", ticks, FOREVER_S)

    loop.start()
    async with asyncio.timeout(5):
        await loop.stop()

    assert ticks.count == ticks.ended <= 1


async def test_a_tick_under_way_is_left_to_end() -> None:
    ticks = Ticks(True, True)
    ticks.open.clear()
    loop = Loop("test", ticks, FOREVER_S)
    loop.start()
    await ticks.reached(1)

    stopping = asyncio.create_task(loop.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    ticks.open.set()
    await stopping

    assert (ticks.count, ticks.ended) == (1, 1)


async def test_a_loop_started_twice_ticks_as_one() -> None:
    ticks = Ticks()
    ticks.open.clear()
    loop = Loop("test", ticks, FOREVER_S)

    loop.start()
    loop.start()
    await ticks.reached(1)
    await asyncio.sleep(0)
    assert ticks.count == 1
    ticks.open.set()
    await loop.stop()


async def test_a_tick_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.001)
    ticks = Ticks(ValueError("once"), RuntimeError("twice"))
    loop = Loop("test", ticks, 0)

    loop.start()
    await ticks.reached(4)
    await loop.stop()


async def test_a_cancellation_nobody_asked_of_the_loop_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the tick waited for may have been cancelled by somebody."""
    monkeypatch.setattr("observatory.runtime.loop._PAUSE_AFTER_ERROR_S", 0.001)
    ticks = Ticks(asyncio.CancelledError())
    loop = Loop("test", ticks, 0)

    loop.start()
    await ticks.reached(3)
    assert not loop.ended
    await loop.stop()

    assert not loop.ended


async def test_a_loop_whose_task_is_cancelled_has_ended() -> None:
    ticks = Ticks()
    ticks.open.clear()
    loop = Loop("test", ticks, FOREVER_S)
    loop.start()
    await ticks.reached(1)

    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "test"]
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert (loop.running, loop.ended) == (False, True)


async def test_a_tick_that_waits_is_not_waited_for_when_the_loop_is_stopped() -> None:
    given: list[object] = []
    waits = asyncio.Event()
    loop: Loop

    async def nothing_comes() -> str:
        waits.set()
        await asyncio.Event().wait()
        return "something"

    async def tick() -> None:
        given.append(await loop.unless_stopped(nothing_comes()))

    loop = Loop("test", tick, FOREVER_S)
    loop.start()
    await waits.wait()
    async with asyncio.timeout(5):
        await loop.stop()

    assert given == [None]


async def test_what_comes_of_a_wait_is_the_ticks() -> None:
    async def comes() -> str:
        return "something"

    async def fails() -> str:
        raise ValueError("no")

    loop = Loop("test", Ticks(), FOREVER_S)

    assert await loop.unless_stopped(comes()) == "something"
    with pytest.raises(ValueError, match="no"):
        await loop.unless_stopped(fails())
