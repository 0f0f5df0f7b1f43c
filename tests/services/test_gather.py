"""Gathering: many callers, one write; none suffers for another."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from observatory.core.errors import StoreUnavailable
from observatory.runtime.gather import Gather

pytestmark = pytest.mark.anyio


class Written:
    """Writes numbers, doubling them; refuses those that are negative; may be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.under_way = 0
        self.most_under_way = 0
        self.fault: Exception | None = None

    async def flush(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
            if self.fault is not None:
                raise self.fault
            if any(item < 0 for item in items):
                raise ValueError("refused")
            return [item * 2 for item in items]
        finally:
            self.under_way -= 1


async def test_callers_that_come_together_go_together() -> None:
    written = Written()
    gather: Gather[int, int] = Gather(written.flush, 100)

    answers = await asyncio.gather(gather.add([1, 2]), gather.add([3]), gather.add([4]))

    assert answers == [[2, 4], [6], [8]]
    assert written.batches == [[1, 2, 3, 4]]
    assert gather.waiting == 0


async def test_what_comes_while_a_write_is_under_way_goes_into_the_next() -> None:
    written = Written()
    written.open.clear()
    gather: Gather[int, int] = Gather(written.flush, 100)
    first = asyncio.create_task(gather.add([1]))
    await _until(lambda: written.batches == [[1]])
    rest = [asyncio.create_task(gather.add([n])) for n in (2, 3, 4)]
    await _until(lambda: gather.waiting == 4)

    written.open.set()

    assert await asyncio.gather(first, *rest) == [[2], [4], [6], [8]]
    assert written.batches == [[1], [2, 3, 4]]
    assert written.most_under_way == 1


async def test_a_write_holds_no_more_items_than_allowed_unless_they_are_one_callers() -> None:
    written = Written()
    gather: Gather[int, int] = Gather(written.flush, 3)

    answers = await asyncio.gather(
        gather.add([1, 2]), gather.add([3, 4]), gather.add([5]), gather.add([6, 7, 8, 9])
    )

    assert [len(answer) for answer in answers] == [2, 2, 1, 4]
    assert written.batches == [[1, 2], [3, 4, 5], [6, 7, 8, 9]]


async def test_as_many_writes_are_under_way_as_allowed() -> None:
    written = Written()
    written.open.clear()
    gather: Gather[int, int] = Gather(written.flush, 1, at_once=2)
    tasks = [asyncio.create_task(gather.add([n])) for n in range(5)]
    await _until(lambda: written.under_way == 2)

    written.open.set()

    assert await asyncio.gather(*tasks) == [[n * 2] for n in range(5)]
    assert written.most_under_way == 2


async def test_one_refused_item_is_singled_out() -> None:
    written = Written()
    gather: Gather[int, int] = Gather(written.flush, 100)

    answers = await asyncio.gather(
        *(gather.add([n]) for n in (1, 2, -3, 4, 5, 6, 7)), return_exceptions=True
    )

    assert [a for a in answers if not isinstance(a, Exception)] == [[2], [4], [8], [10], [12], [14]]
    assert isinstance(answers[2], ValueError)


async def test_a_refused_item_does_not_harm_those_that_come_later() -> None:
    gather: Gather[int, int] = Gather(Written().flush, 100)
    with pytest.raises(ValueError, match="refused"):
        await gather.add([-1])

    assert await gather.add([1]) == [2]
    assert gather.waiting == 0


async def test_a_store_that_is_not_available_is_told_to_everybody_once() -> None:
    written = Written()
    written.fault = StoreUnavailable("gone")
    gather: Gather[int, int] = Gather(written.flush, 100)

    answers = await asyncio.gather(
        gather.add([1]), gather.add([2, 3]), gather.add([4]), return_exceptions=True
    )

    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert written.batches == [[1, 2, 3, 4]], "nothing is gained by asking again at once"


async def test_a_caller_that_goes_away_takes_nothing_back() -> None:
    written = Written()
    written.open.clear()
    gather: Gather[int, int] = Gather(written.flush, 100)
    gone, stays = asyncio.create_task(gather.add([1])), asyncio.create_task(gather.add([2]))
    await _until(lambda: written.under_way == 1)

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    written.open.set()

    assert await stays == [4]
    assert written.batches == [[1, 2]]


async def test_a_caller_that_goes_away_while_it_waits_is_still_written() -> None:
    written = Written()
    written.open.clear()
    gather: Gather[int, int] = Gather(written.flush, 100)
    first = asyncio.create_task(gather.add([1]))
    await _until(lambda: written.under_way == 1)
    gone = asyncio.create_task(gather.add([2]))
    await _until(lambda: gather.waiting == 2)
    gone.cancel()

    written.open.set()
    await first
    await _until(lambda: gather.waiting == 0)

    assert written.batches == [[1], [2]]


async def test_a_refusal_nobody_waits_for_is_no_complaint() -> None:
    written = Written()
    written.open.clear()
    gather: Gather[int, int] = Gather(written.flush, 100)
    gone = asyncio.create_task(gather.add([-1]))
    await _until(lambda: written.under_way == 1)
    gone.cancel()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))

    written.open.set()
    await _until(lambda: gather.waiting == 0)

    assert complaints == []


async def _until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
