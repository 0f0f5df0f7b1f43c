"""Whether anybody waits behind a busy processor: long jobs on three processors that differ.

python -m benchmarks.fairness [--quick] [--seconds 5] [--jobs 40] [--rounds 3]

Jobs that sleep are submitted to processors of 1, 2 and 5 slots: all in one request, so that one
work message carries them, and, beside it, each in a request and so a message of its own. Shows how
long a processor had a free slot while jobs waited, and whether grouping makes the last job end
later than with one job a message.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import idling
from benchmarks.peers.contestants import OURS, Running, service
from benchmarks.peers.servers import serving
from development import installation
from development.process import ServerFailed
from observatory.client import Client, Submission

CONCURRENCIES = (1, 2, 5)
_STALLED_S = 60.0
_TYPE = "bench.sleep"

Figures = dict[str, float]
Submit = Callable[[Client, int, float], dict[int, float]]
"""Submits so many jobs of so many seconds; returns when each was accepted."""


def together(client: Client, jobs: int, seconds: float) -> dict[int, float]:
    """In one request, hence one commit, whose jobs travel together."""
    payloads = ({"n": n, "seconds": seconds} for n in range(jobs))
    client.submit_many(Submission(_TYPE, payload) for payload in payloads)
    return dict.fromkeys(range(jobs), time.time())


def alone(client: Client, jobs: int, seconds: float) -> dict[int, float]:
    """One after another, each answered before the next is sent, hence a message each."""
    accepted: dict[int, float] = {}
    for n in range(jobs):
        client.submit(_TYPE, {"n": n, "seconds": seconds})
        accepted[n] = time.time()
    return accepted


WAYS: dict[str, Submit] = {"grouped": together, "one job a message": alone}


def _processors() -> tuple[tuple[str, ...], ...]:
    processor = service("processor", "benchmarks.fairness_jobs")
    return tuple(
        ("/usr/bin/env", f"OBSERVATORY_CONCURRENCY={slots}", *processor) for slots in CONCURRENCIES
    )


def measure(system: Running, submit: Submit, jobs: int, seconds: float) -> Figures:
    """One batch, from its submission until its last job ended."""
    system.start_workers()
    workers = system.processes[-len(CONCURRENCIES) :]
    slots = {one.pid: number for one, number in zip(workers, CONCURRENCIES, strict=True)}
    with Client(system.gateway) as client:
        started = time.time()
        accepted = submit(client, jobs, seconds)
    notes = _all_ended(system.runs, jobs)
    idle = idling.longest(notes, accepted, slots)
    return {
        "last end": max(note.at for note in notes) - started,
        "submitted": max(accepted.values()) - started,
        **{f"idle {number}": idle[pid].seconds for pid, number in slots.items()},
    }


def _all_ended(runs: Path, jobs: int) -> list[idling.Note]:
    moved_at, last = time.monotonic(), 0
    while True:
        notes = idling.read(runs)
        if len({note.job for note in notes if not note.began}) == jobs:
            return notes
        if len(notes) != last:
            moved_at, last = time.monotonic(), len(notes)
        elif time.monotonic() - moved_at > _STALLED_S:
            raise RuntimeError(f"stands at {last} notes of {jobs} jobs")
        time.sleep(0.05)


def run(options: argparse.Namespace, console: Console) -> dict[str, list[Figures]]:
    """All rounds, the two ways in turn."""
    ours = replace(OURS, workers=_processors())
    results: dict[str, list[Figures]] = {name: [] for name in WAYS}
    with serving(options.folder) as servers:
        for number in range(options.rounds):
            ways = list(WAYS.items())
            for name, submit in reversed(ways) if number % 2 else ways:
                with console.status(f"round {number + 1}: {name}"):
                    with servers.system(ours, Path(sys.executable), slotted=False) as system:
                        figures = measure(system, submit, options.jobs, options.seconds)
                    results[name].append(figures)
                if not console.is_terminal:
                    console.print(f"round {number + 1}: {name}")
    return results


def table(results: dict[str, list[Figures]], jobs: int, seconds: float) -> Table:
    """The rounds' medians, with the least and the greatest."""
    ideal = math.ceil(jobs / sum(CONCURRENCIES)) * seconds
    title = f"{jobs} jobs of {seconds:g} s; with no loss at all the last ends after {ideal:g} s"
    shown = Table(title=title, title_justify="left")
    shown.add_column("seconds", no_wrap=True)
    for name in results:
        shown.add_column(name, justify="right")
    rows = {"last end": "last job ended after", "submitted": "submitted within"}
    rows |= {f"idle {n}": f"idled while jobs waited, {n} slots" for n in CONCURRENCIES}
    for key, text in rows.items():
        shown.add_row(text, *(_spread([one[key] for one in rounds]) for rounds in results.values()))
    return shown


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def verdict(results: dict[str, list[Figures]]) -> str:
    """Whether grouping makes the last job end later, beyond the noise of the rounds."""
    ends = {name: [one["last end"] for one in rounds] for name, rounds in results.items()}
    grouped, single = (statistics.median(ends[name]) for name in WAYS)
    noise = max(max(values) - min(values) for values in ends.values())
    later = grouped - single
    said = "no later than" if later <= noise else "LATER than"
    return (
        f"grouped, the last job ends {said} with one job a message: "
        f"{later:+.2f} s at the median, rounds differ by {noise:.2f} s"
    )


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="that each job sleeps")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the servers keep their data")
    parser.add_argument("--quick", action="store_true", help="two rounds of jobs of one second")
    parser.add_argument("--json", action="store_true", help="figures of every round on stdout")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 1.0, 2
    if absent := installation.missing():
        for software in absent:
            print(software, file=sys.stderr)
        return 1
    try:
        results = run(options, Console(stderr=True))
    except (ServerFailed, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        json.dump(results, sys.stdout, indent=2)
        return 0
    console = Console()
    console.print(table(results, options.jobs, options.seconds))
    console.print(verdict(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
