"""Real services for tests: each is started, broken and stopped by the test that asks for it.

    from real import running_system

    def test_a_job_runs(tmp_path):
        with running_system(JOBS, tmp_path, OBSERVATORY_CONCURRENCY="2") as system:
            system.http.post("/jobs", json={"type": "double", "payload": {"n": 2}})
            system.kill()       # SIGKILL, as a power cut would
            system.start()      # same port, same data folder

A missing or dying service fails the test with the end of its output; nothing here skips.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from development.process import free_port
from shapes import backends_of

MODULE_NAME = "jobs_under_test"
"""The module a test's source is written to; also what `observatory up` is given."""

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    *,
    timeout_s: float = 10.0,
    why: Callable[[], str] = str,
) -> T:
    """Poll until `condition` returns something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout_s} s {why()}")
        time.sleep(0.02)
    return answer


class RunningSystem:
    """One `observatory up` process, or one of a single service: its address, its folder, and the ways to break it."""

    def __init__(
        self,
        folder: Path,
        *,
        arguments: Sequence[str],
        environment: dict[str, str],
        port: int | None = None,
        command: str = "up",
    ) -> None:
        self.folder = folder
        self._command = command
        self.data = folder / "data"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Services of one folder write a file each; the systems that follow one another in it, one.
        name = "output" if command == "up" else f"output-{command}-{self.port}"
        self.output_path = folder / f"{name}.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)
        self._arguments = list(arguments)
        self._environment = environment

    def configure(self, **settings: str) -> None:
        """Change the environment of the next start."""
        self._environment |= settings

    @property
    def output(self) -> str:
        """All the process has printed so far, over all its starts."""
        return self.output_path.read_text(errors="replace") if self.output_path.exists() else ""

    @property
    def alive(self) -> bool:
        """Whether the process is there (it may not be ready)."""
        return self.process is not None and self.process.poll() is None

    @property
    def cpu_s(self) -> float:
        """Processor time it has used: what something costs, whatever else the machine does."""
        assert self.process is not None, "never started"
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def start(self, *, ready_timeout_s: float = 60.0, wait: bool = True) -> None:
        """Start the process on the same port and data; return when `/readyz` says 200."""
        assert not self.alive, "already running"
        command = [sys.executable, "-m", "observatory.interfaces.cli.main", self._command]
        command += [*self._arguments, "--port", str(self.port)]
        if self._command == "up":
            command += ["--data", str(self.data)]
        with self.output_path.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that kill() takes its children along
            )
        if wait:
            self.wait_until_ready(timeout_s=ready_timeout_s)

    def wait_until_ready(self, *, timeout_s: float = 60.0) -> None:
        """Return when `/readyz` answers 200; fail at once when the process has ended."""
        until(
            self._is_ready,
            timeout_s=timeout_s,
            why=lambda: f"it said:\n{self.output[-4000:]}",
        )

    def _is_ready(self) -> bool:
        assert self.process is not None, "never started"
        code = self.process.poll()
        assert code is None, f"ended with {code} before it was ready:\n{self.output[-4000:]}"
        try:
            return self.http.get("/readyz", timeout=2.0).status_code == 200
        except httpx.TransportError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone (children learn of it from their parent)."""
        assert self.process is not None, "never started"
        self.process.send_signal(number)

    def wait_until_ended(self, *, timeout_s: float = 20.0) -> int:
        """The exit code, once it has ended by itself or by a signal sent before."""
        assert self.process is not None, "never started"
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to the process and all its children: nothing gets to say goodbye."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def freeze(self) -> None:
        """SIGSTOP; returns once the process stands still, until SIGCONT."""
        assert self.process is not None, "never started"
        self.signal(signal.SIGSTOP)
        state = Path(f"/proc/{self.process.pid}/stat")
        until(
            lambda: state.read_text().rpartition(")")[2].split()[0] in "TZ",
            why=lambda: "it does not stand still",
        )

    def freeze_when(
        self, at_work: Callable[[], T], *, timeout_s: float = 60.0, why: Callable[[], str] = str
    ) -> T:
        """Freeze it at a moment when `at_work()` is true, and return what that said.

        Asked again of the process that stands still: a fault that is timed by what was seen a
        moment ago hits nothing, now and then.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            until(at_work, timeout_s=left_s, why=lambda: f"vacuous: nothing to hit {why()}")
            assert self.alive, f"it died by itself:\n{self.output[-3000:]}"
            self.freeze()
            if found := at_work():
                return found
            self.signal(signal.SIGCONT)

    def kill_when(
        self, at_work: Callable[[], T], *, timeout_s: float = 60.0, why: Callable[[], str] = str
    ) -> T:
        """SIGKILL at a moment when `at_work()` is true, and return what that said."""
        found = self.freeze_when(at_work, timeout_s=timeout_s, why=why)
        self.kill()
        return found

    def stop(self, *, timeout_s: float = 20.0) -> int:
        """SIGTERM, as a supervisor would, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_until_ended(timeout_s=timeout_s)

    def restart(self) -> None:
        """SIGKILL and start again on what is on disk."""
        self.kill()
        self.start()


def environment(**changes: str) -> dict[str, str]:
    """This environment without any OBSERVATORY_ setting of the developer's own, plus `changes`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OBSERVATORY_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **changes}


@contextmanager
def running_system(
    module_source: str | None,
    tmp_path: Path,
    *,
    arguments: Sequence[str] = (),
    start: bool = True,
    **settings: str,
) -> Iterator[RunningSystem]:
    """Serve the jobs of `module_source` from `tmp_path` until the block ends.

    `settings` become the process's environment (`OBSERVATORY_…="…"`), `arguments` go to
    `observatory up`. With `start=False` nothing runs until the test calls `start()`.
    """
    given = list(arguments)
    if module_source is not None:
        (tmp_path / f"{MODULE_NAME}.py").write_text(module_source)
        given.insert(0, MODULE_NAME)
    shared = {f"OBSERVATORY_{name.upper()}": url for name, url in backends_of(tmp_path).items()}
    system = RunningSystem(tmp_path, arguments=given, environment=environment(**shared | settings))
    try:
        if start:
            system.start()
        yield system
    finally:
        system.http.close()
        system.kill()


@contextmanager
def running_service(
    command: str, folder: Path, *, module_source: str | None = None, **settings: str
) -> Iterator[RunningSystem]:
    """Run one service in a process of its own, such as `observatory gateway`, until the block
    ends; `module_source` is for the processor."""
    arguments: list[str] = []
    if module_source is not None:
        (folder / f"{MODULE_NAME}.py").write_text(module_source)
        arguments.append(MODULE_NAME)
    service = RunningSystem(
        folder, arguments=arguments, environment=environment(**settings), command=command
    )
    try:
        service.start()
        yield service
    finally:
        service.http.close()
        service.kill()
