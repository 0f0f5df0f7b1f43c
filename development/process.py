"""One server process: started with its watchdog, stopped cleanly, or killed with all it started."""

import atexit
import json
import os
import random
import signal
import socket
import subprocess
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

_POLL_S = 0.05
_LOG_TAIL = 3000

# Below the range from which outgoing connections take their ports, so that nobody takes the port
# of a server while it is down.
_PORTS = range(20000, 32000)

# Waits until the process that holds the other end of its input is gone, then stops the server.
_WATCHDOG = """
trap '' HUP INT TERM
cat >/dev/null
kill -"$2" "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$1" 2>/dev/null || exit 0
    sleep 0.5
done
kill -KILL "$1" -"$1"
"""

_running: "weakref.WeakSet[Server]" = weakref.WeakSet()


class ServerFailed(RuntimeError):
    """A server did not start or did not do what it was told; the text ends with its log."""


class Server(ABC):
    """What the three servers have in common. All that one keeps is in `folder`.

    A port once taken is remembered in the folder, so it is the same after a restart.
    """

    name: str
    stop_signal = signal.SIGTERM
    """What makes the server stop cleanly without waiting for its clients."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start and return when the server answers. Raises ServerMissing or ServerFailed."""
        if self.alive:
            raise ServerFailed(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        self._watchdog = self._watch(self._process.pid)
        _running.add(self)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop cleanly; one that has ended already is no error. Raises ServerFailed."""
        process = self._process
        if process is not None:
            descendants = _descendants(process.pid)
            process.send_signal(self.stop_signal)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise self._failed("did not stop") from None
            _wait_until_gone(descendants)
        self._ended()

    def kill(self) -> None:
        """SIGKILL the server and every process it started, and return when all are gone."""
        process = self._process
        if process is not None:
            descendants = _descendants(process.pid)
            for pid in (-process.pid, *descendants):
                _kill(pid)
            process.wait(STOP_TIMEOUT_S)
            _wait_until_gone(descendants)
        self._ended()

    def restart(self) -> None:
        """Stop, if it runs, and start again with the same port and data."""
        self.stop()
        self.start()

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server that runs. Raises ServerFailed."""
        if self._process is None:
            raise ServerFailed(f"{self.name} does not run")
        return self._process.pid

    @property
    def output(self) -> str:
        """All that the server has written, of every start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server serves; an OSError says no, too."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before it is started."""

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _failed(self, how: str) -> ServerFailed:
        return ServerFailed(f"{self.name} {how}\n{self.output[-_LOG_TAIL:]}")

    def _ended(self) -> None:
        """End what was started beside the server."""
        self._process = None
        _running.discard(self)
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    @property
    def _user(self) -> str | None:
        """Who runs the server; None for whoever runs this."""
        return None

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _port(self, name: str = "port") -> int:
        """The port of that name, which is chosen when it is first asked for."""
        file = self.folder / "ports.json"
        ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        if name not in ports:
            ports[name] = free_port(ports.values())
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(ports))
        return ports[name]

    def _watch(self, pid: int) -> subprocess.Popen[bytes]:
        sign = self.stop_signal.name.removeprefix("SIG")
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(pid), sign],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if not self.alive:
                raise self._failed("ended")
            try:
                if self._answers():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise self._failed("does not answer")
            time.sleep(_POLL_S)


def free_port(taken: Container[int] = ()) -> int:
    """A port of the loopback that nobody listens on now."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken:
            return port


def ask(port: int, question: bytes, wanted: int) -> bytes:
    """What a server of the loopback answers, `wanted` bytes at the most. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(question)
        return connection.recv(wanted)


def _descendants(pid: int) -> list[int]:
    """Every process below `pid`. A server's children may leave its process group."""
    children: dict[int, list[int]] = {}
    for child, parent, _ in _processes():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for one in found:
        found.extend(children.get(one, ()))
    return found


def _processes() -> Iterator[tuple[int, int, str]]:
    """Pid, parent and state of every process of the machine."""
    if not Path("/proc/self/stat").exists():
        listing = ["ps", "-A", "-o", "pid=,ppid=,stat="]
        done = subprocess.run(listing, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            pid, parent, state = line.split()
            yield int(pid), int(parent), state[:1]
        return
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything: state, parent, …
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        yield int(folder.name), int(parent), state


def _kill(pid: int) -> None:
    """SIGKILL a process, or with a negative pid a process group, if there is one."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _wait_until_gone(pids: Sequence[int]) -> None:
    """Wait until none runs; one that has ended and only waits to be collected does not count."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while left := {pid for pid, _, state in _processes() if state != "Z"}.intersection(pids):
        if time.monotonic() > deadline:
            raise ServerFailed(f"still running: {sorted(left)}")
        time.sleep(_POLL_S / 5)


@atexit.register
def _end_all() -> None:
    for server in list(_running):
        server.kill()
