"""How old views are, also while the log or the aggregates answer late or not at all."""

import asyncio
from typing import Any

import pytest

from observatory.core.aggregates import Position
from observatory.core.errors import SpineUnavailable
from observatory.core.spine import LogRange
from observatory.services.read_model import freshness as freshness_module
from observatory.services.read_model.freshness import Clock

pytestmark = pytest.mark.anyio

SECOND = 1_000_000


class Backends:
    """Store, log and aggregates in one; the log answers once it is let."""

    def __init__(self) -> None:
        self.instant = 100 * SECOND
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.away = False

    async def now(self) -> int:
        return self.instant

    async def log_range(self) -> LogRange:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise SpineUnavailable("gone")
        return LogRange("epoch", 1, 7)

    async def position(self) -> Position:
        return Position("epoch", 7, {})


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def clock(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(freshness_module, "_PATIENCE_S", 0.05)
    one: Any = backends
    return Clock(one, one, one)


async def test_a_log_that_hangs_keeps_no_view_waiting(clock: Clock, backends: Backends) -> None:
    assert (await clock.freshness()).lag_s == 0
    backends.answers.clear()
    backends.instant += 30 * SECOND

    async with asyncio.timeout(1):
        views = await asyncio.gather(*(clock.freshness() for _ in range(50)))

    assert {(view.lag_s, view.complete, view.log_offset) for view in views} == {(30, False, 7)}
    assert backends.asked == 2, "one look, whoever asks"

    backends.answers.set()
    await asyncio.sleep(0)
    backends.instant += 5 * SECOND
    assert (await clock.freshness()).as_of == backends.instant, "and no old answer is given later"


async def test_a_look_that_failed_is_known_to_all_who_waited_for_it(
    clock: Clock, backends: Backends
) -> None:
    await clock.freshness()
    backends.away = True
    backends.instant += 3 * SECOND

    views = await asyncio.gather(*(clock.freshness() for _ in range(5)))

    assert {(view.lag_s, view.complete) for view in views} == {(3, False)}
    backends.away = False
    backends.instant += 3 * SECOND
    assert (await clock.freshness()).complete
