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

from benchmarks.peers.kinds import SLOTS
from development.process import free_port

ROOT = Path(__file__).parents[2]

Command = tuple[str, ...]
"""Words of a command; for `{port}` it is given a port, on which it is waited for."""


@dataclass(frozen=True)
class Contestant:
    """One system: its name in the table, and the commands of its processes."""

    title: str
    name: str
    """Of the module `<name>_app`, which submits."""
    workers: tuple[Command, ...]
    slotted: tuple[Command, ...]
    """The same workers with as many slots as everyone has."""
    servers: tuple[str, ...]
    """Whose time and memory are counted with its own."""
    gateway: Command | None = None
    others: tuple[Command, ...] = ()
    """What runs beside the gateway and the workers, and whether or not these do."""
    events: bool = False
    long_jobs: bool = True
    """Whether jobs that run long are any business of it."""

    @property
    def over_http(self) -> bool:
        """Whether it is a part of this repository, to which one submits over HTTP."""
        return self.gateway is not None


def service(*words: str) -> Command:
    """A service of the system, by its words on the command line."""
    return (sys.executable, "-m", "observatory.interfaces.cli.main", *words, "--port", "{port}")


_PROCESSOR = service("processor", "benchmarks.peers.ours_app")
_FLOOR = (sys.executable, "-m", "benchmarks.peers.floor_app")
_CELERY = ("celery", "-A", "benchmarks.peers.celery_app", "worker", "-l", "error")
_DRAMATIQ = ("dramatiq", "benchmarks.peers.dramatiq_app", "-p", "2")
_TASKIQ = ("taskiq", "worker", "benchmarks.peers.taskiq_app:broker", "-w", "2")
_TASKIQ += ("--log-level", "ERROR")

_WITH_REDIS = ("RabbitMQ", "Redis")


def _celery(*further: str) -> dict[str, tuple[Command, ...]]:
    # Its processes run one job each; two of them with many slots means threads.
    threads = (*_CELERY, "-P", "threads", "-c", str(SLOTS), *further)
    nodes = tuple((*threads, "-n", f"{name}@%h") for name in ("one", "two"))
    return {"workers": ((*_CELERY, "-c", "2", *further),), "slotted": nodes}


OURS = Contestant(
    "observatory",
    "ours",
    workers=(_PROCESSOR, _PROCESSOR),
    slotted=(_PROCESSOR, _PROCESSOR),
    servers=("RabbitMQ", "PostgreSQL", "Redis"),
    gateway=service("gateway"),
    others=(service("metrics-engine"), service("read-model")),
)
FLOOR = Contestant(
    "floor",
    "floor",
    workers=((*_FLOOR, "worker"), (*_FLOOR, "worker")),
    slotted=((*_FLOOR, "worker"), (*_FLOOR, "worker")),
    servers=("RabbitMQ", "PostgreSQL"),
    gateway=(*_FLOOR, "gateway", "--port", "{port}"),
    long_jobs=False,
)
CELERY = Contestant("Celery", "celery", servers=_WITH_REDIS, **_celery())
CELERY_EVENTS = Contestant(
    "Celery with events", "celery", servers=_WITH_REDIS, events=True, **_celery("-E")
)
DRAMATIQ = Contestant(
    "Dramatiq",
    "dramatiq",
    workers=(_DRAMATIQ,),
    slotted=((*_DRAMATIQ, "-t", str(SLOTS)),),
    servers=_WITH_REDIS,
)
TASKIQ = Contestant(
    "Taskiq",
    "taskiq",
    workers=(_TASKIQ,),
    slotted=((*_TASKIQ, "--max-async-tasks", str(SLOTS)),),
    servers=_WITH_REDIS,
)

CONTESTANTS = (OURS, FLOOR, CELERY, CELERY_EVENTS, DRAMATIQ, TASKIQ)
"""Each with two worker processes; for jobs that do nothing, else as its documentation starts it."""


class Running:
    """A contestant's processes in a folder, with its own place on the servers."""

    def __init__(
        self,
        contestant: Contestant,
        folder: Path,
        python: Path,
        urls: dict[str, str],
        slotted: bool,
    ) -> None:
        self.contestant = contestant
        self.runs = folder / "runs"
        self.gateway = ""
        self.processes: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._python = Path(sys.executable) if contestant.over_http else python
        self._slotted = slotted
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OBSERVATORY_")}
        self._environment = kept | urls | {"BENCH_RUNS": str(self.runs)}
        if contestant.events:
            self._environment["BENCH_EVENTS"] = "1"
        if slotted:
            self._environment["OBSERVATORY_CONCURRENCY"] = str(SLOTS)

    def start(self) -> None:
        """Start all but the workers."""
        contestant = self.contestant
        if contestant.gateway is not None:
            (self.gateway,) = self._launch(contestant.gateway)
            self._environment["BENCH_GATEWAY"] = self.gateway
        self._launch(*contestant.others)

    def start_workers(self) -> None:
        """Start the workers; those that say when they are ready are waited for."""
        self._launch(*(self.contestant.slotted if self._slotted else self.contestant.workers))

    def stop_workers(self, count: int) -> None:
        """End the processes that were started last."""
        for _ in range(count):
            process = self.processes.pop()
            process.terminate()
            process.wait(30)

    def _launch(self, *commands: Command) -> list[str]:
        addresses: list[str] = []
        for command in commands:
            words = list(command)
            if "{port}" in words:
                port = str(free_port())
                words[words.index("{port}")] = port
                addresses.append(f"http://127.0.0.1:{port}")
            # The peers' commands stand beside their Python.
            words[0] = str(self._python.parent / words[0])
            with self._output(len(self.processes)).open("wb") as output:
                process = subprocess.Popen(
                    words,
                    cwd=ROOT,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.processes.append(process)
        for url in addresses:
            _wait(url)
        return addresses

    def _output(self, number: int) -> Path:
        return self._folder / f"output-{number}.txt"

    def said(self) -> str:
        """The ends of what its processes have printed."""
        texts = (path.read_text(errors="replace") for path in self._folder.glob("output-*.txt"))
        return "\n".join(text[-1000:] for text in texts if text.strip())

    def produce(
        self, first: int, jobs: int, sleep_s: float, rate: float | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the producer."""
        command = [str(self._python), "-m", "benchmarks.peers.produce", self.contestant.name]
        command += [str(first), str(jobs), str(sleep_s), *([] if rate is None else [str(rate)])]
        with (self._folder / "output-producer.txt").open("ab") as errors:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=errors
            )


@contextmanager
def running(
    contestant: Contestant, folder: Path, python: Path, urls: dict[str, str], *, slotted: bool
) -> Iterator[Running]:
    """A contestant without its workers; everything of it is ended afterwards."""
    system = Running(contestant, folder, python, urls, slotted)
    try:
        system.start()
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
