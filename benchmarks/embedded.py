"""Throughput and latency of the embedded system, in jobs recorded a second, beside the raw floor.

python -m benchmarks [--quick] [--json] [--rounds 3] [--jobs 20000]

Each round measures, on an empty data folder each: the way from HTTP to the record in batches of
100 and of 500; the drain of jobs accepted beforehand; and after each the floor of the same writes.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import floor
from benchmarks.server import ROOT, Server, serving

TYPE = "bench.noop"
BATCH_SIZES = (100, 500)
CONNECTIONS = 4
LATENCY_RATE = 200.0
DRAIN_FLOOR_SHARE = 0.5
END_TO_END_JOBS_A_SECOND = 3000

_POLL_S = 0.25
_STALLED_S = 30.0
_ENDED = "('completed', 'failed', 'cancelled')"

Advance = Callable[[int], None]
"""Shows how many jobs of a step have ended."""

Beside = Callable[[Server], AbstractContextManager[Any]]
"""What is done to a system while it is measured."""


def end_to_end(
    folder: Path,
    jobs: int,
    size: int,
    concurrency: int | None,
    show: Advance,
    *,
    settings: Mapping[str, str] | None = None,
    beside: Beside = nullcontext,
) -> dict:
    """From the first request until the last outcome is on disk; `beside` happens meanwhile."""
    with serving(folder, concurrency, settings) as server, beside(server):
        before, cpu_before = server.transactions(), server.cpu_s()
        client = _client(server, "batches", jobs=jobs, size=size, connections=CONNECTIONS)
        _wait_until_ended(server, jobs, show)
        transactions, cpu_s = server.transactions() - before, server.cpu_s() - cpu_before
        loaded = json.loads(client.communicate(timeout=60)[0])
    recording = floor.read(server.data / "observatory.db", TYPE)
    seconds = _last_end(recording) - loaded["started"]
    moves = ["accept", "claim", "complete"]
    floor_s = floor.replay(recording, moves, transactions, folder / "floor")
    return {
        **_figures(recording, jobs, seconds, floor_s, transactions, cpu_s),
        "accepted_per_s": jobs / (loaded["ended"] - loaded["started"]),
        "refused_requests": loaded["refused"],
    }


def drain(folder: Path, jobs: int, concurrency: int | None, show: Advance) -> dict:
    """From the moment the slots come free until the last of the waiting jobs is on disk."""
    with serving(folder, concurrency) as server:
        gate = folder / "gate"
        slots = _get(server, "/workers")["items"][0]["concurrency"]
        held = [{"type": "bench.hold", "payload": {"until": str(gate)}}] * slots
        _post(server, "/jobs/batch", held)
        while server.ask("SELECT count(*) FROM jobs WHERE state = 'running'") != [(slots,)]:
            time.sleep(0.05)
        _client(server, "batches", jobs=jobs, size=500, connections=2).communicate(timeout=600)
        while server.ask("SELECT count(*) FROM outbox") != [(0,)]:
            time.sleep(0.05)
        before, cpu_before = server.transactions(), server.cpu_s()
        started = time.time()
        gate.touch()
        _wait_until_ended(server, jobs, show)
        transactions, cpu_s = server.transactions() - before, server.cpu_s() - cpu_before
    recording = floor.read(server.data / "observatory.db", TYPE)
    seconds = _last_end(recording) - started
    floor_s = floor.replay(recording, ["claim", "complete"], transactions, folder / "floor")
    return _figures(recording, jobs, seconds, floor_s, transactions, cpu_s)


def latency(folder: Path, seconds: float, concurrency: int | None) -> dict:
    """Of single submissions at a modest rate, from the moment each was due until its 202."""
    with serving(folder, concurrency) as server:
        _client(server, "singles", seconds=1, rate=LATENCY_RATE).communicate(timeout=60)
        client = _client(server, "singles", seconds=seconds, rate=LATENCY_RATE)
        return json.loads(client.communicate(timeout=seconds + 60)[0])


def _figures(
    recording: floor.Recording,
    jobs: int,
    seconds: float,
    floor_s: float,
    transactions: int,
    cpu_s: float,
) -> dict:
    sizes = {move: recording.sizes(move) for move in ("accept", "claim", "complete")}
    return {
        "jobs_per_s": jobs / seconds,
        "floor_jobs_per_s": jobs / floor_s,
        "ratio": floor_s / seconds,
        "cpu_s_per_1000": cpu_s / jobs * 1000,
        "transactions": transactions,
        "mean_batch": {move: statistics.fmean(n) for move, n in sizes.items() if n},
    }


def _client(server: Server, kind: str, **options: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.load", server.url, kind]
    command += [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def _wait_until_ended(server: Server, jobs: int, show: Advance) -> None:
    moved_at, last = time.monotonic(), 0
    while last < jobs:
        time.sleep(_POLL_S)
        query = f"SELECT count(*) FROM jobs WHERE type = '{TYPE}' AND state IN {_ENDED}"
        ended = server.ask(query)[0][0]
        if ended != last:
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > _STALLED_S:
            raise RuntimeError(f"stuck at {ended} of {jobs} jobs; see {server.data}")
        show(ended)
        last = ended


def _last_end(recording: floor.Recording) -> float:
    wrong = [r["id"] for r in recording.rows.values() if r["state"] != "completed"]
    if wrong:
        raise RuntimeError(f"{len(wrong)} jobs did not complete, such as {wrong[0]}")
    return max(row["finished_at"] for row in recording.rows.values()) / 1e6


def _get(server: Server, path: str) -> Any:
    import urllib.request

    with urllib.request.urlopen(server.url + path, timeout=10) as answer:
        return json.load(answer)


def _post(server: Server, path: str, body: Any) -> None:
    import urllib.request

    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


class Rounds:
    """Runs the measurements in turn and collects what they say."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.results: dict[str, list[dict]] = {}
        self._options = options
        self._console = console

    def run(self) -> None:
        """All rounds, each measurement and its floor in turn."""
        given = self._options
        sizes = [(f"end to end, batches of {size}", size) for size in BATCH_SIZES]
        steps = given.rounds * (len(sizes) + 1) + 1
        with (
            tempfile.TemporaryDirectory(prefix="observatory-bench-", dir=given.folder) as folder,
            self._progress(steps, given.jobs) as (begin, show),
        ):
            for round in range(given.rounds):
                for name, size in sizes:
                    begin(f"round {round + 1}: {name}")
                    here = _folder(folder, f"{round}-{size}")
                    self._add(name, end_to_end(here, given.jobs, size, given.concurrency, show))
                begin(f"round {round + 1}: drain")
                here = _folder(folder, f"{round}-drain")
                self._add("drain", drain(here, given.jobs, given.concurrency, show))
            begin("latency of single submissions")
            here = _folder(folder, "latency")
            self._add("latency", latency(here, given.seconds, given.concurrency))

    def _add(self, name: str, figures: dict) -> None:
        self.results.setdefault(name, []).append(figures)

    @contextmanager
    def _progress(self, steps: int, jobs: int) -> Iterator[tuple[Callable[[str], None], Advance]]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            whole = progress.add_task("measurements", total=steps)
            step = progress.add_task("", total=jobs)
            begun = 0

            def begin(name: str) -> None:
                nonlocal begun
                progress.update(whole, completed=begun)
                progress.reset(step, description=name)
                begun += 1

            yield begin, lambda ended: progress.update(step, completed=ended)


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def table(results: dict[str, list[dict]]) -> Table:
    """The rounds' medians, with the least and the greatest."""
    shown = Table(title="embedded system, no-op async jobs: median (least to greatest)")
    shown.add_column("measurement")
    for name in ("jobs/s", "floor jobs/s", "share of floor", "CPU s / 1,000", "jobs per commit"):
        shown.add_column(name, justify="right")
    for name, rounds in results.items():
        if name == "latency":
            continue
        batches = rounds[0]["mean_batch"]
        shown.add_row(
            name,
            _spread(rounds, "jobs_per_s", "{:,.0f}"),
            _spread(rounds, "floor_jobs_per_s", "{:,.0f}"),
            _spread(rounds, "ratio", "{:.0%}"),
            _spread(rounds, "cpu_s_per_1000", "{:.2f}"),
            " / ".join(f"{size:.0f}" for size in batches.values()),
        )
    return shown


def _spread(rounds: list[dict], key: str, form: str) -> str:
    values = [one[key] for one in rounds]
    if len(values) == 1:
        return form.format(values[0])
    ends = f"{form.format(min(values))} to {form.format(max(values))}"
    return f"{form.format(statistics.median(values))} ({ends})"


def verdicts(results: dict[str, list[dict]]) -> list[str]:
    """Each target and whether the median meets it."""
    share = statistics.median(one["ratio"] for one in results["drain"])
    lines = [_verdict(share >= DRAIN_FLOOR_SHARE, f"drain is {share:.0%} of the floor (50 %)")]
    for size in BATCH_SIZES:
        rounds = results[f"end to end, batches of {size}"]
        rate = statistics.median(one["jobs_per_s"] for one in rounds)
        met = rate >= END_TO_END_JOBS_A_SECOND
        lines.append(_verdict(met, f"{rate:,.0f} jobs/s end to end in batches of {size} (3,000)"))
    return lines


def _verdict(met: bool, text: str) -> str:
    return f"{'met' if met else 'NOT MET'}: {text}"


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20_000, help="of each throughput measurement")
    parser.add_argument("--seconds", type=float, default=10, help="of the latency measurement")
    parser.add_argument("--concurrency", type=int, help="of the processor, if not its default")
    parser.add_argument("--folder", help="where the data goes; its disk is what is measured")
    parser.add_argument("--quick", action="store_true", help="one round of 5,000 jobs, 3 seconds")
    parser.add_argument("--json", action="store_true", help="figures of every round on stdout")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.jobs, options.seconds = 1, 5_000, 3
    rounds = Rounds(options, Console(stderr=True))
    rounds.run()
    results = rounds.results
    if options.json:
        json.dump({"machine": machine(), "rounds": results}, sys.stdout, indent=2)
        return
    console = Console()
    console.print(table(results))
    single = results["latency"][0]
    console.print(
        f"POST /jobs at {LATENCY_RATE:.0f}/s: p50 {single['p50'] * 1e3:.1f} ms, "
        f"p99 {single['p99'] * 1e3:.1f} ms, longest {single['max'] * 1e3:.1f} ms "
        f"of {single['requests']:,}"
    )
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    for line in verdicts(results):
        console.print(line)


if __name__ == "__main__":
    main()
