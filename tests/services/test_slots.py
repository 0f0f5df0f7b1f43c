"""No more runs are under way than there are slots, and jobs wait here only while they are short."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import anyio
import pytest

from observatory import Observatory
from observatory.core.job import ClaimedJob, FinishedAttempt
from observatory.core.lifecycle import OutcomeKind
from observatory.services.processor.notes import Notes
from observatory.services.processor.run import Run
from observatory.services.processor.slots import Slots
from services.embedding import until

pytestmark = pytest.mark.anyio

_numbers = count(1)


class Bench:
    """Slots for runs that last until they are told to end."""

    def __init__(self, slots: int) -> None:
        self.may_begin = True
        self.slots = Slots(slots, lambda: self.may_begin)
        self.began: list[str] = []
        self.outcomes: dict[str, OutcomeKind] = {}
        self.may_end: dict[str, asyncio.Event] = {}
        app = Observatory()

        @app.job("hold")
        async def hold(name: str) -> None:
            self.began.append(name)
            await self.may_end[name].wait()

        self.handler = app.handlers["hold"]

    def take(self, names: str) -> None:
        for name in names:
            self.may_end[name] = asyncio.Event()
            job = ClaimedJob(
                id=f"job-{next(_numbers)}", type="hold", queue="q", attempt=1,
                payload=f'{{"name": "{name}"}}', failures=0, crashes=0, max_attempts=3,
                timeout_s=None, contract_version=1, correlation_id="c", traceparent=None,
            )  # fmt: skip
            threads = anyio.CapacityLimiter(1)
            run = Run(job, self.handler, lambda: 0, Notes(), 1000, threads, self._settled)
            self.slots.take(run)

    def _settled(self, run: Run, outcome: FinishedAttempt) -> None:
        self.slots.settled(run)
        self.outcomes[run.job.payload[-3]] = outcome.outcome

    async def end(self, names: str) -> None:
        for name in names:
            self.may_end[name].set()
        await until(lambda: self.outcomes.keys() >= set(names))

    async def get_through(self, names: str) -> None:
        """Jobs that end while a claim is made."""
        began = asyncio.get_running_loop().time()
        self.take(names)
        await self.end(names)
        self.slots.claimed(began, asyncio.get_running_loop().time())


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(4)
    yield bench
    for run in list(bench.slots.runs.values()):
        run.end(OutcomeKind.RELEASED)
    await until(lambda: not bench.slots.runs)


async def test_a_new_worker_claims_what_it_has_slots_for(bench: Bench) -> None:
    assert bench.slots.room == 4
    bench.take("abc")
    assert bench.slots.room == 1


async def test_jobs_are_claimed_ahead_while_many_end_during_a_claim(bench: Bench) -> None:
    await bench.get_through("abcd")
    assert bench.slots.room == 4, "one claim may be chance"

    await bench.get_through("efgh")

    assert bench.slots.room == 8, "and never more than as many again as there are slots"


async def test_few_are_claimed_ahead_where_few_end_during_a_claim(bench: Bench) -> None:
    await bench.get_through("abcd")
    await bench.get_through("e")
    assert bench.slots.room == 6

    await bench.get_through("")
    assert bench.slots.room == 4, "none where jobs are long"


async def test_what_waits_begins_in_turn_as_slots_come_free(bench: Bench) -> None:
    bench.take("abcdef")
    await until(lambda: bench.began == list("abcd"))
    assert (bench.slots.under_way, len(bench.slots.runs)) == (4, 6)

    await bench.end("c")
    await until(lambda: bench.began == list("abcde"))
    assert (bench.slots.under_way, len(bench.slots.runs)) == (4, 5)

    await bench.end("abdef")
    assert set(bench.outcomes.values()) == {OutcomeKind.COMPLETED}
    assert (bench.slots.under_way, len(bench.slots.runs)) == (0, 0)


async def test_what_waits_can_be_ended_and_never_begins(bench: Bench) -> None:
    bench.take("abcdef")
    waiting = [run for run in bench.slots.runs.values() if run.began_at is None]

    waiting[0].end(OutcomeKind.CANCELLED)
    assert bench.outcomes == {"e": OutcomeKind.CANCELLED}
    assert (bench.slots.under_way, len(bench.slots.runs)) == (4, 5)

    await bench.end("abcdf")
    assert bench.began == list("abcdf")


async def test_what_waits_is_handed_back_whole_when_the_worker_drains(bench: Bench) -> None:
    bench.take("abcdef")

    bench.slots.hand_back_waiting()

    assert bench.outcomes == dict.fromkeys("ef", OutcomeKind.RELEASED)
    assert bench.slots.under_way == 4


async def test_what_waits_behind_longer_jobs_is_handed_back_and_no_more_is_claimed_ahead(
    bench: Bench,
) -> None:
    await bench.get_through("abcd")
    await bench.get_through("efgh")
    bench.take("ijklmn")
    await asyncio.sleep(0.1)
    assert len(bench.slots.runs) == 6, "they have only begun to wait"

    await until(lambda: len(bench.slots.runs) == 4)

    assert {name for name, how in bench.outcomes.items() if how is OutcomeKind.RELEASED} == {*"mn"}
    assert bench.slots.room == 0


async def test_what_began_in_time_is_not_handed_back(bench: Bench) -> None:
    bench.take("abcde")
    await bench.end("a")
    await asyncio.sleep(0.4)

    assert bench.outcomes == {"a": OutcomeKind.COMPLETED}
    assert bench.slots.under_way == 4


async def test_a_worker_that_may_begin_nothing_begins_nothing(bench: Bench) -> None:
    bench.take("abcdef")
    await until(lambda: len(bench.began) == 4)

    bench.may_begin = False
    await bench.end("ab")
    bench.take("g")

    assert bench.outcomes["g"] is OutcomeKind.RELEASED
    await until(lambda: bench.outcomes.get("f") is OutcomeKind.RELEASED)
    assert bench.outcomes["e"] is OutcomeKind.RELEASED
    assert bench.began == list("abcd")
    assert bench.slots.under_way == 2


async def test_while_no_slot_idles_a_claim_waits_until_it_is_worth_it(bench: Bench) -> None:
    await bench.get_through("abcd")
    await bench.get_through("efgh")
    bench.take("ijklmnop")
    assert bench.slots.room == 0

    await bench.end("i")
    assert bench.slots.room == 0
    await bench.end("j")
    assert bench.slots.room == 2


async def test_a_worker_with_many_slots_claims_no_more_than_a_claim_is_good_for() -> None:
    bench = Bench(250)
    await bench.get_through("abcdef")
    await bench.get_through("ghijkl")
    assert bench.slots.room == 250


async def test_waiting_for_a_slot_ends_when_a_run_does(bench: Bench) -> None:
    bench.take("abcd")
    waiting = asyncio.create_task(bench.slots.freed(60.0))
    await asyncio.sleep(0)

    await bench.end("a")

    assert await waiting
