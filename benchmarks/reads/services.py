"""The servers and processes under measurement, private and on free ports."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from development.postgres import PostgresServer
from development.process import Server, free_port
from development.rabbitmq import RabbitmqServer
from development.redis import RedisServer

ROOT = Path(__file__).parents[2]


class Servers:
    """RabbitMQ, PostgreSQL and Redis in a folder."""

    def __init__(self, folder: Path) -> None:
        # Filling it is not what is measured, so nothing need survive.
        settings = {"max_wal_size": "4GB", "checkpoint_timeout": "30min"}
        self.postgres = PostgresServer(folder / "postgres", fsync=False, settings=settings)
        self.rabbitmq = RabbitmqServer(folder / "rabbitmq")
        self.redis = RedisServer(folder / "redis")

    @property
    def settings(self) -> dict[str, str]:
        """With which the system uses them."""
        return {
            "OBSERVATORY_SPINE_URL": self.rabbitmq.url(),
            "OBSERVATORY_STORE_URL": self.postgres.url(),
            "OBSERVATORY_AGGREGATES_URL": self.redis.url(),
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all of them, and stop them at the end."""
        servers: list[Server] = [self.postgres, self.rabbitmq, self.redis]
        with ThreadPoolExecutor() as threads:
            try:
                list(threads.map(Server.start, servers))
                yield
            finally:
                list(threads.map(Server.stop, servers))


def command(settings: dict[str, str], *words: str) -> None:
    """Run `observatory` to its end."""
    arguments = [sys.executable, "-m", "observatory.interfaces.cli.main", *words]
    subprocess.run(
        arguments, cwd=ROOT, env=_environment(settings), check=True, stdout=subprocess.DEVNULL
    )


class Service:
    """One `observatory` process."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, output: Path) -> None:
        self.process = process
        self.url = url
        self.output = output

    def memory_mb(self) -> int:
        """The most memory it has held so far."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
        return 0

    def wait(self, path: str, timeout_s: float) -> None:
        """Return once a GET of `path` answers 200."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return
            except (urllib.error.URLError, OSError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{path}: {error}\n{self.output.read_text()}") from error
            time.sleep(0.05)


@contextmanager
def service(folder: Path, settings: dict[str, str], *words: str) -> Iterator[Service]:
    """A process of the system, ready; stopped at the end."""
    port = free_port()
    output = folder / f"{words[0]}-{port}.txt"
    arguments = [sys.executable, "-m", "observatory.interfaces.cli.main", *words]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*arguments, "--port", str(port)],
            cwd=ROOT,
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        started = Service(process, f"http://127.0.0.1:{port}", output)
        started.wait("/readyz", 30)
        yield started
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)


def _environment(settings: dict[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OBSERVATORY_")}
    return kept | settings
