"""Throughput, latency and cost beside the peers, on the same servers, in turn.

python -m benchmarks.peers [--quick] [--json] [--rounds 3] [--jobs 10000] [--sleep 0] [--only NAME]

Each round measures every contestant once: the way from the first submission until the last job ran
(end to end), how fast jobs that wait are worked off by two worker processes (drain), and how long
after it was due a job began, at 200 submissions a second (latency). All keep results. RabbitMQ,
PostgreSQL and Redis are private ones, started anew for each round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.embedded import machine
from benchmarks.peers.contestants import CONTESTANTS, Contestant, Running, running
from benchmarks.peers.runs import read
from development.postgres import PostgresServer
from development.process import Server
from development.rabbitmq import RabbitmqServer
from development.redis import RedisServer

HOME = Path(__file__).parent
RATE = 200.0
_WARM_UP = 200
_STALLED_S = 90.0
_TICKS = os.sysconf("SC_CLK_TCK")


def peers_python() -> Path:
    """An environment of their own for the peers, made when it is first needed."""
    folder = HOME / ".venv"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        requirements = str(HOME / "requirements.txt")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        (folder / "complete").touch()
    return python


class Bench:
    """The servers of a round, and the processor time of everything."""

    def __init__(self, folder: Path, servers: tuple[Server, ...], python: Path) -> None:
        self.folder = folder
        self._servers = servers
        self._python = python
        self._count = 0

    @contextmanager
    def system(self, contestant: Contestant) -> Iterator[Running]:
        """A contestant on an empty database, virtual host and Redis."""
        self._count += 1
        folder = self.folder / f"{self._count}"
        folder.mkdir()
        postgres, rabbitmq, redis = self._servers
        assert isinstance(postgres, PostgresServer)
        assert isinstance(rabbitmq, RabbitmqServer)
        assert isinstance(redis, RedisServer)
        redis.cli("FLUSHALL")
        amqp = rabbitmq.add_vhost(f"bench-{self._count}")
        urls = {"BENCH_AMQP": amqp, "BENCH_REDIS": redis.url()}
        if contestant.name == "ours":
            name = f"bench_{self._count}"
            postgres.psql(f"CREATE DATABASE {name}")
            urls |= {
                "OBSERVATORY_SPINE_URL": amqp,
                "OBSERVATORY_STORE_URL": postgres.url(name),
                "OBSERVATORY_AGGREGATES_URL": redis.url(),
            }
            migrate = [sys.executable, "-m", "observatory.interfaces.cli.main", "migrate"]
            subprocess.run(migrate, env=os.environ | urls, check=True, capture_output=True)
        try:
            with running(contestant, folder, self._python, urls) as system:
                yield system
        finally:
            rabbitmq.ctl("delete_vhost", f"bench-{self._count}")

    def cpu_s(self, system: Running) -> float:
        """Of the servers and the contestant's processes, until now."""
        roots = {one.pid for one in self._servers} | {p.pid for p in system.processes}
        return _cpu_below(roots)


def _cpu_below(roots: set[int]) -> float:
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        # Its own, and that of children it has waited for.
        ticks[pid] = sum(map(int, fields[11:15]))
    total = 0
    for pid in ticks:
        above = pid
        while above in parents and above not in roots:
            above = parents[above]
        total += ticks[pid] if above in roots else 0
    return total / _TICKS


def end_to_end(bench: Bench, contestant: Contestant, jobs: int, sleep_s: float) -> dict:
    """From the first submission until the last job ran."""
    with bench.system(contestant) as system:
        system.start(contestant.workers)
        _warm_up(system)
        before = bench.cpu_s(system)
        producer = system.produce(_WARM_UP, jobs, sleep_s)
        told = json.loads(producer.communicate(timeout=600)[0])
        ran = _all_ran(system, _WARM_UP + jobs)[_WARM_UP:]
        cpu_s = bench.cpu_s(system) - before + told["cpu_s"]
    return {
        "end to end, jobs/s": jobs / (max(at for _, at in ran) - told["started"]),
        "enqueued, jobs/s": jobs / (told["ended"] - told["started"]),
        "CPU s / 1,000 jobs": cpu_s / jobs * 1000,
    }


def drain(bench: Bench, contestant: Contestant, jobs: int, sleep_s: float) -> dict:
    """How fast the workers work off what waits, from their first job on."""
    with bench.system(contestant) as system:
        if contestant.name == "ours":
            # Job types are known from when a worker has registered them once.
            system.start(contestant.workers)
            workers = system.processes[-len(contestant.workers) :]
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(30)
                system.processes.remove(worker)
        system.produce(0, jobs, sleep_s).communicate(timeout=600)
        time.sleep(1.0)
        system.start(contestant.workers)
        times = sorted(at for _, at in _all_ran(system, jobs))
    return {"drain, jobs/s": (jobs - 1) / (times[-1] - times[0])}


def latency(bench: Bench, contestant: Contestant, seconds: float) -> dict:
    """From when a submission was due until its job began."""
    with bench.system(contestant) as system:
        system.start(contestant.workers)
        _warm_up(system)
        jobs = int(seconds * RATE)
        producer = system.produce(_WARM_UP, jobs, 0.0, RATE)
        told = json.loads(producer.communicate(timeout=seconds + 120)[0])
        ran = _all_ran(system, _WARM_UP + jobs)
    waits = sorted(at - (told["started"] + (n - _WARM_UP) / RATE) for n, at in ran if n >= _WARM_UP)
    return {
        "start p50, ms": waits[len(waits) // 2] * 1e3,
        "start p99, ms": waits[int(len(waits) * 0.99)] * 1e3,
    }


def _warm_up(system: Running) -> None:
    system.produce(0, _WARM_UP, 0.0).communicate(timeout=120)
    _all_ran(system, _WARM_UP)


def _all_ran(system: Running, wanted: int) -> list[tuple[int, float]]:
    moved_at, last = time.monotonic(), 0
    while True:
        ran = read(system.runs)
        if len({n for n, _ in ran}) >= wanted:
            return ran
        if len(ran) != last:
            moved_at, last = time.monotonic(), len(ran)
        elif time.monotonic() - moved_at > _STALLED_S:
            raise RuntimeError(f"{system.contestant.title} stands at {last} of {wanted} jobs")
        time.sleep(0.1)


def table(results: dict[str, list[dict]]) -> Table:
    """The rounds' medians."""
    shown = Table(title="median of the rounds")
    columns = list(next(iter(results.values()))[0])
    shown.add_column("")
    for column in columns:
        shown.add_column(column, justify="right")
    for title, rounds in results.items():
        medians = (statistics.median(one[column] for one in rounds) for column in columns)
        shown.add_row(title, *(f"{value:,.{2 if value < 10 else 0}f}" for value in medians))
    return shown


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10_000, help="of each measurement")
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds that each job sleeps")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the latency measurement")
    parser.add_argument("--only", default="", help="contestants whose name has this text")
    parser.add_argument("--folder", help="where the servers keep their data")
    parser.add_argument("--quick", action="store_true", help="one round of 2,000 jobs, 5 seconds")
    parser.add_argument("--json", action="store_true", help="figures of every round on stdout")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.jobs, options.seconds = 1, 2_000, 5.0
    console = Console(stderr=True)
    python = peers_python()
    wanted = [c for c in CONTESTANTS if options.only in c.title]
    results: dict[str, list[dict]] = {c.title: [] for c in wanted}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="peers-", dir=options.folder) as name:
            home = Path(name)
            home.chmod(0o755)
            with (
                PostgresServer(home / "postgres") as postgres,
                RabbitmqServer(home / "rabbitmq") as rabbitmq,
                RedisServer(home / "redis") as redis,
            ):
                bench = Bench(home, (postgres, rabbitmq, redis), python)
                for contestant in wanted:
                    with console.status(f"round {number + 1}: {contestant.title}"):
                        figures = end_to_end(bench, contestant, options.jobs, options.sleep)
                        figures |= drain(bench, contestant, options.jobs, options.sleep)
                        figures |= latency(bench, contestant, options.seconds)
                    results[contestant.title].append(figures)
    if options.json:
        json.dump({"machine": machine(), "rounds": results}, sys.stdout, indent=2)
        return
    shown = Console()
    shown.print(table(results))
    shown.print(", ".join(f"{name} {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
