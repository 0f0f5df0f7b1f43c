"""Throughput, latency and cost beside the floor and the peers, on the same servers, in turn.

Each round measures every contestant once, on RabbitMQ, PostgreSQL and Redis servers started anew
for it. Prints tables, and writes a plot and every round's figures. benchmarks/README.md says what
is measured and how.
"""

import argparse
import datetime
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.embedded import machine
from benchmarks.peers import measure, report
from benchmarks.peers.contestants import CONTESTANTS, ROOT, Contestant
from benchmarks.peers.environment import peers_python
from benchmarks.peers.figures import BARE
from benchmarks.peers.kinds import KINDS, Kind, named
from benchmarks.peers.servers import Servers, serving
from development import installation

PLOT = ROOT / "benchmarks" / "results" / "peers.svg"

Step = Callable[[Servers], measure.Figures]
Done = Callable[[str, bool], None]
"""Told what is being measured, and whether that is complete."""


_FAILURES = (RuntimeError, OSError, subprocess.SubprocessError)


@dataclass
class Run:
    """All rounds: every kind of job, every contestant in turn."""

    options: argparse.Namespace
    python: Path
    contestants: list[Contestant]
    results: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def all_rounds(self, console: Console) -> None:
        """Measure, and show how far it is."""
        rounds = [
            (number, kind)
            for number in range(self.options.rounds)
            for kind in self.options.kinds
            if number < kind.rounds_max
        ]
        steps = sum(len(self._steps(kind, c)) for _, kind in rounds for c in self._taking(kind))
        steps += sum(kind.latency for _, kind in rounds)
        with _progress(console, steps) as done:
            for number, kind in rounds:
                for contestant in self._taking(kind, number):
                    steps = self._steps(kind, contestant)
                    self._measure(number, kind, contestant.title, steps, done)
                if kind.latency:
                    bare = partial(measure.bare_round_trip, seconds=self.options.seconds)
                    self._measure(number, kind, BARE, {"latency": bare}, done)

    def _taking(self, kind: Kind, number: int = 0) -> list[Contestant]:
        """Who takes part; somebody else is first in each round."""
        taking = [c for c in self.contestants if c.long_jobs or kind.throughput]
        start = number % max(1, len(taking))
        return taking[start:] + taking[:start]

    def _steps(self, kind: Kind, contestant: Contestant) -> dict[str, Step]:
        jobs = kind.jobs_quick if self.options.quick else kind.jobs
        if kind.name == "noop" and self.options.jobs:
            jobs = self.options.jobs
        given = {"contestant": contestant, "kind": kind, "python": self.python}
        steps: dict[str, Step] = {"end to end": partial(measure.end_to_end, jobs=jobs, **given)}
        if kind.throughput:
            steps["drain"] = partial(measure.drain, jobs=jobs, **given)
        if kind.latency:
            seconds = self.options.seconds
            steps["latency"] = partial(measure.latency, seconds=seconds, **given)
        return steps

    def _measure(
        self, number: int, kind: Kind, title: str, steps: dict[str, Step], done: Done
    ) -> None:
        place = f"round {number + 1}, {kind.name}, {title}"
        figures: measure.Figures = {}
        done(f"{place}: servers", False)
        try:
            with serving(self.options.folder) as servers:
                for name, step in steps.items():
                    done(f"{place}: {name}", False)
                    figures |= self._taken(f"{place}: {name}", partial(step, servers))
                    done(f"{place}: {name}", True)
        except _FAILURES as error:
            self.failures.append(f"{place}: {error}")
        self.results.setdefault(kind.name, {}).setdefault(title, []).append(figures)

    def _taken(self, place: str, step: Callable[[], measure.Figures]) -> measure.Figures:
        try:
            return step()
        except _FAILURES as error:
            # What the others take half an hour to measure is worth more than stopping here.
            self.failures.append(f"{place}: {error}")
            return {}


@contextmanager
def _progress(console: Console, steps: int) -> Iterator[Done]:
    """Shows what is measured now, and how much is left."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    text = TextColumn("{task.description}")
    with Progress(*columns, text, console=console, transient=True) as progress:
        task = progress.add_task("", total=steps)

        def done(what: str, complete: bool) -> None:
            progress.update(task, description=what, advance=1 if complete else 0)
            if complete and not console.is_terminal:
                console.print(what)

        yield done


def _document(run: Run, started: datetime.datetime) -> dict:
    """What is kept of a run."""
    order = [c.title for c in CONTESTANTS] + [BARE]
    return {
        "started": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "rate": measure.RATE,
        "results": {
            kind: {title: rounds[title] for title in order if title in rounds}
            for kind, rounds in run.results.items()
        },
        "failures": run.failures,
    }


def _draw(python: Path, results: Path, plot: Path) -> None:
    command = [str(python), "-m", "benchmarks.peers.plot", str(results), str(plot)]
    subprocess.run(command, cwd=ROOT, check=True)


def _options() -> argparse.Namespace:
    kinds = ",".join(kind.name for kind in KINDS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--kinds", type=named, default=kinds, help=f"of jobs: {kinds}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, help="of those that do nothing, each time")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each latency measurement")
    parser.add_argument("--only", default="", help="contestants whose name has one of these texts")
    parser.add_argument("--folder", help="where the servers keep their data")
    parser.add_argument("--plot", type=Path, default=PLOT, help="SVG or PNG, with a .json beside")
    parser.add_argument("--redraw", action="store_true", help="from the .json, measuring nothing")
    parser.add_argument("--quick", action="store_true", help="one round with few jobs")
    options = parser.parse_args()
    options.plot = options.plot.absolute()
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 5.0)
    return options


def main() -> int:
    """Run as a program."""
    options = _options()
    # So that everything that was started is ended, also where it runs in the background.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console(stderr=True)
    results: Path = options.plot.with_suffix(".json")
    if not options.redraw:
        if absent := installation.missing():
            for software in absent:
                print(software, file=sys.stderr)
            return 1
        texts = [text.strip().lower() for text in options.only.split(",")]
        wanted = [c for c in CONTESTANTS if any(text in c.title.lower() for text in texts)]
        if not wanted:
            print(f"nobody is called {options.only}", file=sys.stderr)
            return 2
        run = Run(options, peers_python(), wanted)
        started = datetime.datetime.now().astimezone()
        try:
            run.all_rounds(console)
        except KeyboardInterrupt:
            print("interrupted; nothing is kept", file=sys.stderr)
            return 130
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps(_document(run, started), indent=2) + "\n")
    if not results.exists():
        print(f"{results} is not there: measure first", file=sys.stderr)
        return 1
    shown = Console()
    if not shown.is_terminal:
        shown.width = report.WIDTH
    report.show(shown, json.loads(results.read_text()))
    _draw(peers_python(), results, options.plot)
    print(f"{options.plot}\n{results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
