"""The client of the measurements, in a process of its own; prints what it did as JSON.

python -m benchmarks.load URL batches --jobs 20000 --size 100 --connections 4
python -m benchmarks.load URL singles --seconds 10 --rate 200

It speaks HTTP with the standard library and makes every body before it starts, because the
processors it uses are missing to the system it measures.
"""

import argparse
import http.client
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_HEADERS = {"Content-Type": "application/json"}
_REFUSED = 503
_PAUSE_AFTER_REFUSAL_S = 0.05
_SINGLE_CONNECTIONS = 16


def job(n: int) -> dict[str, Any]:
    """A small job."""
    return {"type": "bench.noop", "payload": {"n": n, "text": "a small payload of a plain job"}}


def batches(url: str, jobs: int, size: int, connections: int) -> dict[str, Any]:
    """Submit jobs as fast as they are accepted; each connection waits for its answer."""
    bodies = [
        json.dumps([job(n) for n in range(start, min(start + size, jobs))]).encode()
        for start in range(0, jobs, size)
    ]
    waiting = itertools.count()
    refused = 0

    def work(connection: http.client.HTTPConnection) -> None:
        nonlocal refused
        while (index := next(waiting)) < len(bodies):
            while _post(connection, "/jobs/batch", bodies[index]) == _REFUSED:
                refused += 1
                time.sleep(_PAUSE_AFTER_REFUSAL_S)

    started = time.time_ns()
    _at_once(url, connections, work)
    return {"started": started / 1e9, "ended": time.time_ns() / 1e9, "refused": refused}


def singles(url: str, seconds: float, rate: float) -> dict[str, Any]:
    """Submit single jobs at a fixed rate, whether or not the earlier ones are answered.

    A latency runs from the moment a request was due, so that a stall counts for every request
    that it delayed and not only for one.
    """
    bodies = [json.dumps(job(n)).encode() for n in range(int(seconds * rate))]
    waiting = itertools.count()
    latencies: list[float] = []
    first_due = time.perf_counter() + 0.2

    def work(connection: http.client.HTTPConnection) -> None:
        while (index := next(waiting)) < len(bodies):
            due = first_due + index / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            _post(connection, "/jobs", bodies[index])
            latencies.append(time.perf_counter() - due)

    _at_once(url, _SINGLE_CONNECTIONS, work)
    latencies.sort()
    return {
        "requests": len(latencies),
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[int(len(latencies) * 0.99)],
        "max": latencies[-1],
    }


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> int:
    connection.request("POST", path, body, _HEADERS)
    response = connection.getresponse()
    answer = response.read()
    if response.status not in (202, _REFUSED):
        raise RuntimeError(f"{path} answered {response.status}: {answer[:500]!r}")
    return response.status


def _at_once(url: str, count: int, work: Callable[[http.client.HTTPConnection], None]) -> None:
    address = urlsplit(url).netloc
    failures: list[BaseException] = []

    def run() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            work(connection)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="submit jobs and say how it went")
    parser.add_argument("url")
    kinds = parser.add_subparsers(dest="kind", required=True)
    many = kinds.add_parser("batches")
    many.add_argument("--jobs", type=int, required=True)
    many.add_argument("--size", type=int, required=True)
    many.add_argument("--connections", type=int, required=True)
    single = kinds.add_parser("singles")
    single.add_argument("--seconds", type=float, required=True)
    single.add_argument("--rate", type=float, required=True)
    given = vars(parser.parse_args())
    kind = given.pop("kind")
    json.dump((batches if kind == "batches" else singles)(**given), sys.stdout)


if __name__ == "__main__":
    main()
