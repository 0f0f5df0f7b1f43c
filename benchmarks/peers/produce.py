"""One producer: submits jobs of a contestant as fast as it can, or at a rate; prints when, as JSON.

python -m benchmarks.peers.produce NAME FIRST JOBS SLEEP_S [RATE]
"""

import asyncio
import importlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

_AT_ONCE = 200
"""Submissions that an asynchronous producer has under way."""

_CLIENTS = 8
"""Threads that submit at a rate, so that one slow answer delays no other."""


def main() -> None:
    """Run as a program."""
    name, first, jobs, sleep_s = sys.argv[1], *map(float, sys.argv[2:5])
    module = importlib.import_module(f"benchmarks.peers.{name}_app")
    rate = float(sys.argv[5]) if len(sys.argv) > 5 else None
    numbers = range(int(first), int(first + jobs))
    if name == "taskiq":
        started = asyncio.run(_asynchronous(module, numbers, sleep_s, rate))
    else:
        started = _blocking(module, name, numbers, sleep_s, rate)
    ended = time.time()
    json.dump({"started": started, "ended": ended, "cpu_s": time.process_time()}, sys.stdout)


def _blocking(module, name: str, numbers: range, sleep_s: float, rate: float | None) -> float:
    over_http = hasattr(module, "submitter")
    submit = module.submitter() if over_http else module.submit
    if rate is None:
        started = time.time()
        if over_http:
            module.submit_all(numbers.start, len(numbers), sleep_s)
            return started
        for n in numbers:
            submit(n, sleep_s)
        if name == "dramatiq":
            module.broker.close()  # else what is still in its buffer is lost
        return started

    started = time.time() + 0.5

    def at(index: int) -> None:
        time.sleep(max(0.0, started + index / rate - time.time()))
        submit(numbers[index], sleep_s)

    with ThreadPoolExecutor(_CLIENTS) as threads:
        list(threads.map(at, range(len(numbers))))
    return started


async def _asynchronous(module, numbers: range, sleep_s: float, rate: float | None) -> float:
    await module.broker.startup()
    try:
        started = time.time() + (0.5 if rate else 0.0)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(index: int) -> None:
            async with limit:
                if rate:
                    await asyncio.sleep(max(0.0, started + index / rate - time.time()))
                await module.submit(numbers[index], sleep_s)

        await asyncio.gather(*(one(i) for i in range(len(numbers))))
        return started
    finally:
        await module.broker.shutdown()


if __name__ == "__main__":
    main()
