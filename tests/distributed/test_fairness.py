"""Nobody waits behind a busy processor: work goes to whoever has a slot free.

What is asserted is read from the handlers' own notes of when they began and ended, and where.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from benchmarks import fairness_jobs, idling
from benchmarks.idling import Idling, Note
from real import RunningSystem, running_service, until

CONCURRENCIES = (1, 2, 5)
SECONDS = 0.8
GRACE_S = 0.6
"""Less than a job takes: who waits for one job of another is found."""


@pytest.fixture
def processors(
    tmp_path: Path, shared_backends: dict[str, str]
) -> Iterator[tuple[httpx.Client, dict[int, int]]]:
    """A gateway, and the slots of three processors by their process ids."""
    settings = shared_backends | {"BENCH_RUNS": str(tmp_path / "notes")}
    source = Path(fairness_jobs.__file__).read_text()
    slots: dict[int, int] = {}
    with ExitStack() as stack:
        for number in CONCURRENCIES:
            own = settings | {"OBSERVATORY_CONCURRENCY": str(number)}
            processor: RunningSystem = stack.enter_context(
                running_service("processor", tmp_path, module_source=source, **own)
            )
            assert processor.process is not None
            slots[processor.process.pid] = number
        gateway = stack.enter_context(running_service("gateway", tmp_path, **settings))
        yield gateway.http, slots


def jobs_of(numbers: range) -> list[dict]:
    return [{"type": "bench.sleep", "payload": {"n": n, "seconds": SECONDS}} for n in numbers]


def all_ended(path: Path, jobs: int) -> list[Note]:
    def ended() -> bool:
        return len({note.job for note in idling.read(path) if not note.began}) == jobs

    until(ended, timeout_s=60, why=lambda: f"{idling.read(path)}")
    notes = idling.read(path)
    assert len(notes) == 2 * jobs, "a job ran more than once"
    return notes


@pytest.mark.slow
@pytest.mark.parametrize("requests", [1, 40])
def test_no_processor_idles_while_jobs_wait(
    tmp_path: Path, processors: tuple[httpx.Client, dict[int, int]], requests: int
) -> None:
    http, slots = processors
    jobs, accepted = 40, {}
    size = -(-jobs // requests)
    for start in range(0, jobs, size):
        numbers = range(start, min(start + size, jobs))
        answer = http.post("/jobs/batch", json=jobs_of(numbers))
        assert answer.status_code == 202, answer.text
        accepted |= dict.fromkeys(numbers, time.time())

    notes = all_ended(tmp_path / "notes", jobs)

    idle = idling.longest(notes, accepted, slots)
    assert {pid: found for pid, found in idle.items() if found.seconds > GRACE_S} == {}
    rounds = -(-jobs // sum(CONCURRENCIES))
    last = max(note.at for note in notes) - min(accepted.values())
    assert last < rounds * SECONDS + (rounds - 1) * GRACE_S


def test_who_idles_is_found() -> None:
    """Processor 1 has two jobs to run one after the other, while processor 2 could run one."""
    notes = [
        Note(1, 0, 10.1, True),
        Note(1, 0, 15.1, False),
        Note(1, 1, 15.2, True),
        Note(1, 1, 20.2, False),
    ]

    idle = idling.longest(notes, {0: 10.0, 1: 10.0}, {1: 1, 2: 3})

    assert idle[2] == Idling(pytest.approx(5.2), 10.0)
    assert idle[1].seconds == pytest.approx(0.1)
    assert idling.longest(notes[:2], {0: 10.0}, {1: 1, 2: 3})[2].seconds == pytest.approx(0.1)
