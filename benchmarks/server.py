"""The system under measurement: `observatory up` in a process of its own, as users start it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_WAL_INDEX_CHANGES = slice(8, 12)
"""Where the WAL index counts the transactions (https://sqlite.org/walformat.html, section 2.1)."""


class Server:
    """A running system, its address, its record and its cost."""

    def __init__(
        self, folder: Path, concurrency: int | None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.data = folder / "data"
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OBSERVATORY_")}
        if concurrency is not None:
            environment["OBSERVATORY_CONCURRENCY"] = str(concurrency)
        environment |= settings or {}
        command = [sys.executable, "-m", "observatory.interfaces.cli.main", "up"]
        command += ["benchmarks.jobs", "--port", str(self.port), "--data", str(self.data)]
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Of the process, for a profiler."""
        return self._process.pid

    def wait_until_ready(self, timeout_s: float = 20) -> None:
        """Return once requests are answered."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the system did not start:\n{self._output.read_text()}")
            try:
                with urllib.request.urlopen(self.url + "/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)

    def stop(self) -> None:
        """Drain and end it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def cpu_s(self) -> float:
        """Processor time it has used so far, in user and system mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND

    def transactions(self) -> int:
        """How many transactions its database has committed since it was made."""
        index = (self.data / "observatory.db-shm").read_bytes()[:48]
        return int.from_bytes(index[_WAL_INDEX_CHANGES], sys.byteorder)

    def ask(self, query: str) -> list[tuple]:
        """Ask its record in SQL, from outside."""
        uri = f"{(self.data / 'observatory.db').absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()


@contextmanager
def serving(
    folder: Path, concurrency: int | None, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A system for one measurement, on an empty folder; stopped and complete afterwards."""
    server = Server(folder, concurrency, settings)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
