"""The measurements: one contestant on servers of its own, once.

Every job says when it begins (`runs.py`). A job counts as ended when it began and its sleep passed.
"""

import asyncio
import json
import subprocess
import time
from pathlib import Path

from benchmarks.peers import round_trip
from benchmarks.peers.contestants import OURS, Contestant, Running
from benchmarks.peers.cost import PeakMemory, cpu_s
from benchmarks.peers.kinds import SLOTS, Kind
from benchmarks.peers.runs import read
from benchmarks.peers.servers import Servers

RATE = 200.0
"""Submissions a second where latency is measured."""

_WARM_UP = 200
_STALLED_S = 90.0
_PRODUCE_TIMEOUT_S = 600.0

Figures = dict[str, float]
"""By the keys of `figures.MEASURES`."""


def end_to_end(
    servers: Servers, contestant: Contestant, kind: Kind, jobs: int, python: Path
) -> Figures:
    """From the first submission until the last job ended, and what all of it cost."""
    with servers.system(contestant, python, slotted=kind.slotted) as system:
        system.start_workers()
        _warm_up(system)
        roots = servers.roots(system)
        before = cpu_s(roots)
        with PeakMemory(roots) as memory:
            told = _produced(system.produce(_WARM_UP, jobs, kind.sleep_s))
            ran = _all_ran(system, _WARM_UP + jobs)[_WARM_UP:]
        cpu = cpu_s(roots) - before + told["cpu_s"]
    elapsed = max(at for _, at in ran) + kind.sleep_s - told["started"]
    if not kind.throughput:
        used = jobs * kind.sleep_s / (2 * SLOTS * elapsed)
        return {"elapsed": elapsed, "used": used * 100, "memory": memory.mib}
    figures = {"end_to_end": jobs / elapsed, "cpu": cpu / jobs * 1000, "memory": memory.mib}
    if not kind.slotted:
        figures["enqueue"] = jobs / (told["ended"] - told["started"])
    return figures


def drain(servers: Servers, contestant: Contestant, kind: Kind, jobs: int, python: Path) -> Figures:
    """How fast the workers work off what waits, from their first job on."""
    with servers.system(contestant, python, slotted=kind.slotted) as system:
        if contestant is OURS:
            # Job types are known from when a worker has registered them once.
            system.start_workers()
            system.stop_workers(len(contestant.workers))
        _produced(system.produce(0, jobs, kind.sleep_s))
        time.sleep(1.0)
        system.start_workers()
        times = sorted(at for _, at in _all_ran(system, jobs))
    return {"drain": (jobs - 1) / (times[-1] - times[0])}


def latency(
    servers: Servers, contestant: Contestant, kind: Kind, seconds: float, python: Path
) -> Figures:
    """From when a submission was due until its job began."""
    with servers.system(contestant, python, slotted=kind.slotted) as system:
        system.start_workers()
        _warm_up(system)
        jobs = int(seconds * RATE)
        told = _produced(system.produce(_WARM_UP, jobs, 0.0, RATE))
        ran = _all_ran(system, _WARM_UP + jobs)
    due = told["started"] - _WARM_UP / RATE
    return _percentiles([at - due - n / RATE for n, at in ran if n >= _WARM_UP])


def bare_round_trip(servers: Servers, seconds: float) -> Figures:
    """What a message alone takes, at the same rate: the least that a start can take."""
    url = servers.rabbitmq.add_vhost("bare")
    return _percentiles(asyncio.run(round_trip.waits(url, RATE, int(seconds * RATE))))


def _percentiles(waits: list[float]) -> Figures:
    waits = sorted(waits)
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    return {"start_p50": p50 * 1e3, "start_p99": p99 * 1e3}


def _produced(producer: subprocess.Popen[bytes]) -> dict[str, float]:
    """What the producer tells at its end. Raises RuntimeError."""
    try:
        told, _ = producer.communicate(timeout=_PRODUCE_TIMEOUT_S)
    finally:
        producer.kill()  # No more than a formality, unless it came too late.
    if producer.returncode:
        raise RuntimeError(f"the producer ended with {producer.returncode}")
    return json.loads(told)


def _warm_up(system: Running) -> None:
    _produced(system.produce(0, _WARM_UP, 0.0))
    _all_ran(system, _WARM_UP)


def _all_ran(system: Running, wanted: int) -> list[tuple[int, float]]:
    """Every job's first beginning, by number, once all have begun. Raises RuntimeError."""
    moved_at, last = time.monotonic(), 0
    while True:
        first: dict[int, float] = {}
        for n, at in read(system.runs):
            first.setdefault(n, at)
        if len(first) >= wanted:
            return sorted(first.items())
        if len(first) != last:
            moved_at, last = time.monotonic(), len(first)
        elif time.monotonic() - moved_at > _STALLED_S:
            raise RuntimeError(f"{system.contestant.title} stands at {last} of {wanted} jobs")
        time.sleep(0.1)
