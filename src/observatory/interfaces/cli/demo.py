"""The driver of `observatory up --demo`: submits the work, shows it going, tells what was found.

It talks to the system over HTTP as any client would, from a thread of its own, so that what it
shows is what everybody sees. The job types are in examples/standard_library.py.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import (
    console,
    first_line,
    print_table,
    safe,
    say,
    seconds,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from observatory.client import Client, JobHandle, Refused, Submission

REFRESH_S: Final = 0.25
"""Four times a second looks alive and costs the system four small reads."""

SUMMARY_DELAY_S: Final = 5.0
"""The summary is a scheduled job: due this long after the files were submitted."""

TERMINAL: Final = ("completed", "failed", "cancelled")


class Demo:
    """One run of the demo, in a thread beside the server."""

    def __init__(
        self, *, when_done: Callable[[], None], goes_on: bool, files: int | None = None
    ) -> None:
        self._when_done = when_done
        self._goes_on = goes_on
        self._files = files
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = False

    def start(self, url: str) -> None:
        """Begin, once the server answers at `url`."""
        # A daemon: Ctrl-C ends the server without waiting for what is being read.
        self._thread = threading.Thread(target=self._run, args=(url,), name="demo", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End early; the jobs stay and go on when the system is started again."""
        self._stopped.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def code(self, served: int) -> int:
        """The exit code of the whole: the server's, unless the demo itself went wrong."""
        return ExitCode.FAILED if self._failed else served

    def _run(self, url: str) -> None:
        from observatory.client import Client, ObservatoryError

        try:
            with Client(url) as client:
                self._failed = not self._drive(client, url)
        except ObservatoryError as error:
            if self._stopped.is_set():
                return  # the server has gone first
            self._failed = True
            say(f"the demo cannot go on: {error}")
        self._when_done()

    def _drive(self, client: "Client", url: str) -> bool:
        run = new_run_id()
        before = finished_counts(client)
        files = submissions(run, self._files)
        say(
            f"\nMeasuring {len(files)} files of Python {sys.version.split()[0]}'s"
            f" standard library, run {run}"
        )
        handles = client.submit_many(files)
        refused: list[Refused] = [one for one in handles if isinstance(one, Exception)]
        if refused:
            say(f"{len(refused)} were refused; the first: {refused[0]}")
        summary = submit_summary(client, run, url)
        with progress_bar() as bar:
            self._watch(client, summary, bar, before, total=len(files) - len(refused))
        if self._stopped.is_set():
            return True  # Ctrl-C before the end is no failure of the demo
        print_summary(summary)
        if self._goes_on:
            where = "" if urlsplit(url).port == 8080 else f" --url {url}"
            say(f"\nLook at {url.rstrip('/')}/ or ask `{command()} stats{where}`. Ctrl-C ends it.")
        return summary.state == "completed" and not refused

    def _watch(
        self,
        client: "Client",
        summary: "JobHandle",
        bar: "Progress",
        before: dict[str, int],
        *,
        total: int,
    ) -> None:
        task = bar.add_task("", total=total, fine=0, failed=0)
        while not self._stopped.is_set():
            now = finished_counts(client)
            new = {state: max(0, now[state] - before[state]) for state in TERMINAL}
            ended = min(total, sum(new.values()))
            bar.update(task, completed=ended, fine=new["completed"], failed=new["failed"])
            if summary.refresh().job.finished:
                return
            self._stopped.wait(REFRESH_S)


def command() -> str:
    """How this program is called from where the user is: it need not be on the PATH."""
    program = Path(sys.argv[0])
    if shutil.which("observatory") or program.name != "observatory":
        return "observatory"
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)


def new_run_id() -> str:
    """Keeps one run's jobs apart from another's on the same data."""
    return time.strftime("demo-%Y%m%d-%H%M%S", time.gmtime())


def finished_counts(client: "Client") -> dict[str, int]:
    """How many files have ended so far, in all runs, by how."""
    group = client.stats(window=60)["types"].get("source.analyze")
    return {state: group["states"][state] if group else 0 for state in TERMINAL}


def submissions(run: str, most: int | None) -> list["Submission"]:
    """One job for each file of the standard library, or for so many at most, evenly spread."""
    from importlib import import_module

    from observatory.client import Submission, SubmitOptions

    options = SubmitOptions(correlation_id=run)
    # `up --demo` has loaded it from examples/, where no import statement would find it.
    paths: list[str] = import_module("standard_library").source_files()
    if most is not None and most < len(paths):
        paths = [paths[n * len(paths) // most] for n in range(most)]
    return [Submission("source.analyze", {"path": path}, options) for path in paths]


def submit_summary(client: "Client", run: str, url: str) -> "JobHandle":
    """The scheduled job that collects the results."""
    from observatory.client import SubmitOptions

    # No key: payloads are kept and shown. The handler takes it from its environment, as we do.
    options = SubmitOptions(correlation_id=run, delay=SUMMARY_DELAY_S)
    return client.submit("source.summarize", run=run, url=url, options=options)


def progress_bar() -> "Progress":
    """A bar on a terminal; nothing in a pipe, where it would only be noise."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[green]{task.fields[fine]} ok[/] [red]{task.fields[failed]} failed[/]"),
        TimeElapsedColumn(),
        console=console(),
        disable=not sys.stdout.isatty(),
    )


def print_summary(summary: "JobHandle") -> None:
    """What the run has found."""
    from observatory.client import JobFailed

    try:
        found: dict[str, Any] = summary.result
    except JobFailed as error:
        say(f"the summary failed: {error}")
        return
    totals = found["totals"]
    say(
        f"\n{found['files']} files in {found['tookSeconds']:.1f} s"
        f" ({found['jobsPerSecond']} jobs/s, {found['attempts']} attempts):"
        f" {', '.join(f'{count} {state}' for state, count in sorted(found['states'].items()))}\n"
        f"{totals['lines']:,} lines, {totals['codeLines']:,} of them code,"
        f" {totals['functions']:,} functions, {totals['classes']:,} classes,"
        f" statements nested {found['deepest']} deep at most\n"
    )
    _print_spreads(found)
    _print_findings(found)
    _print_failures(found)


def _print_spreads(found: dict[str, Any]) -> None:
    rows = [
        (name, *(seconds(found[key][p]) for p in ("p50", "p95", "p99")))
        for name, key in (("waited", "waitSeconds"), ("ran", "runSeconds"))
        if found.get(key)
    ]
    if rows:
        heading = f"LAST {found['windowSeconds'] // 60} MIN, ESTIMATED"
        print_table((heading, "P50", "P95", "P99"), rows, numbers=("P50", "P95", "P99"))


def _print_findings(found: dict[str, Any]) -> None:
    say()
    largest = [(one["path"], one["lines"]) for one in found["largest"]]
    print_table(("LARGEST FILES", "LINES"), largest, numbers=("LINES",))
    say()
    hardest = [(f"{m['path']} {m['name']}()", m["complexity"]) for m in found["mostComplex"]]
    print_table(("MOST COMPLEX FUNCTIONS", "PATHS"), hardest, numbers=("PATHS",))


def _print_failures(found: dict[str, Any]) -> None:
    say()
    if not found["failures"]:
        say("No file failed: this Python came without its own tests, which hold the broken files.")
        return
    rows = [(f["error"], f["count"], first_line(safe(f["example"]))) for f in found["failures"]]
    print_table(("FAILED WITH", "FILES", "EXAMPLE"), rows, numbers=("FILES",))
