"""Who is measured: what is started for each, on servers that all of them share."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from development.process import free_port

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Contestant:
    """One system: its name in the table, and the commands of its processes."""

    title: str
    name: str
    workers: tuple[tuple[str, ...], ...]
    always: tuple[tuple[str, ...], ...] = ()
    """What runs before the workers, and whether or not they do."""
    events: bool = False


_OURS = ("processor", "benchmarks.peers.ours_app")
_CELERY = ("celery", "-A", "benchmarks.peers.celery_app", "worker", "-c", "2", "-l", "error")
_DRAMATIQ = ("dramatiq", "benchmarks.peers.dramatiq_app", "-p", "2")
_TASKIQ = ("taskiq", "worker", "benchmarks.peers.taskiq_app:broker", "-w", "2")

CONTESTANTS = (
    Contestant(
        "observatory",
        "ours",
        workers=(_OURS, _OURS),
        always=(("gateway",), ("metrics-engine",), ("read-model",)),
    ),
    Contestant("celery", "celery", workers=(_CELERY,)),
    Contestant("celery with events", "celery", workers=((*_CELERY, "-E"),), events=True),
    Contestant("dramatiq", "dramatiq", workers=(_DRAMATIQ,)),
    Contestant("taskiq", "taskiq", workers=((*_TASKIQ, "--log-level", "ERROR"),)),
)
"""Each with two worker processes, and otherwise as its documentation starts it."""


class Running:
    """A contestant's processes in a folder, with its own place on the servers."""

    def __init__(
        self, contestant: Contestant, folder: Path, python: Path, urls: dict[str, str]
    ) -> None:
        self.contestant = contestant
        self.runs = folder / "runs"
        self._folder = folder
        self._python = Path(sys.executable) if contestant.name == "ours" else python
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OBSERVATORY_")}
        self._environment = kept | urls | {"BENCH_RUNS": str(self.runs)}
        if contestant.events:
            self._environment["BENCH_EVENTS"] = "1"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, commands: tuple[tuple[str, ...], ...]) -> None:
        """Start these; ours are waited for."""
        ready: list[str] = []
        for command in commands:
            arguments = [str(self._python.parent / command[0]), *command[1:]]
            if self.contestant.name == "ours":
                port = free_port()
                url = f"http://127.0.0.1:{port}"
                arguments = [str(self._python), "-m", "observatory.interfaces.cli.main", *command]
                arguments += ["--port", str(port)]
                ready.append(url)
                if command == ("gateway",):
                    self._environment["BENCH_GATEWAY"] = url
            with (self._folder / f"output-{len(self.processes)}.txt").open("wb") as output:
                self.processes.append(
                    subprocess.Popen(
                        arguments,
                        cwd=ROOT,
                        env=self._environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        for url in ready:
            _wait(url)

    def produce(
        self, first: int, jobs: int, sleep_s: float, rate: float | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the producer."""
        command = [str(self._python), "-m", "benchmarks.peers.produce", self.contestant.name]
        command += [str(first), str(jobs), str(sleep_s), *([] if rate is None else [str(rate)])]
        return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE)


@contextmanager
def running(
    contestant: Contestant, folder: Path, python: Path, urls: dict[str, str]
) -> Iterator[Running]:
    """A contestant without its workers; everything of it is ended afterwards."""
    system = Running(contestant, folder, python, urls)
    try:
        system.start(contestant.always)
        yield system
    finally:
        for process in reversed(system.processes):
            process.terminate()
        for process in system.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
