"""What a job costs each process and server of the distributed shape, at a given load.

Each run is on new servers and five processes: gateway, two processors, metrics engine, read model.
Jobs do nothing. They come in batches of 100, so that a request costs the same at every load.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.peers.cost import cpu_s
from development import PostgresServer, RabbitmqServer, RedisServer
from development.process import Server, free_port

BATCH: Final = 100
PARTS: Final = ("gateway", "processor", "metrics-engine", "read-model")
SERVERS: Final = ("postgres", "rabbitmq", "redis")

_PROCESSORS: Final = 2
_CONNECTIONS: Final = 4
_TIMEOUT_S: Final = 120.0
_SETTLED_S: Final = 5.0


class System:
    """The processes and the servers, and what is asked of them."""

    def __init__(self, folder: Path) -> None:
        self.postgres = PostgresServer(folder / "postgres")
        self.rabbitmq = RabbitmqServer(folder / "rabbitmq", metrics=True)
        self.redis = RedisServer(folder / "redis")
        self.pids: dict[str, set[int]] = {}
        self.ports: dict[str, int] = {}
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def servers(self) -> dict[str, Server]:
        return {"postgres": self.postgres, "rabbitmq": self.rabbitmq, "redis": self.redis}

    def start(self) -> None:
        """Everything, until each is ready."""
        for name, server in self.servers.items():
            server.start()
            self.pids[name] = {server.pid}
        settings = os.environ | {
            "OBSERVATORY_STORE_URL": self.postgres.url(),
            "OBSERVATORY_SPINE_URL": self.rabbitmq.url(),
            "OBSERVATORY_AGGREGATES_URL": self.redis.url(),
            "OBSERVATORY_CANARY_SECONDS": "0",
            "OBSERVATORY_LOG_LEVEL": "warning",
        }
        program = [sys.executable, "-m", "observatory.interfaces.cli.main"]
        subprocess.run([*program, "migrate"], env=settings, check=True, capture_output=True)
        for part in (*PARTS, *["processor"] * (_PROCESSORS - 1)):
            port = free_port(self.ports.values())
            self.ports.setdefault(part, port)
            given = ["benchmarks.jobs"] if part == "processor" else []
            with (self._folder / f"{part}-{port}.log").open("wb") as log:
                process = subprocess.Popen(
                    [*program, part, *given, "--port", str(port)],
                    env=settings,
                    stdout=log,
                    stderr=log,
                )
            self._processes.append(process)
            self.pids.setdefault(part, set()).add(process.pid)
            _until_ready(port)

    def stop(self) -> None:
        """Everything, the processes first."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(_TIMEOUT_S)
        for server in self.servers.values():
            server.stop()

    def cpu_s(self) -> dict[str, float]:
        """Processor time of each part, of its processes together, until now."""
        return {part: cpu_s(roots) for part, roots in self.pids.items()}

    def moved(self) -> dict[str, float]:
        """What the servers have done until now, by what it is."""
        told = self.postgres.psql(
            "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, (SELECT wal_sync FROM pg_stat_wal),"
            " (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),"
            " pg_database_size(current_database())"
        )
        wal, syncs, commits, size = map(float, told.split("|"))
        redis = dict(
            line.strip().split(":", 1)
            for line in self.redis.cli("INFO").splitlines()
            if ":" in line
        )
        return {
            "postgres WAL bytes": wal,
            "postgres WAL syncs": syncs,
            "postgres commits": commits,
            "postgres bytes kept": size,
            "rabbitmq messages": self._rabbitmq("rabbitmq_global_messages_received_total"),
            "rabbitmq bytes kept": float(_size(self.rabbitmq.folder / "data")),
            "redis commands": float(redis["total_commands_processed"]),
            "redis bytes received": float(redis["total_net_input_bytes"]),
        }

    def rows(self) -> dict[str, int]:
        """Rows of each table of the record."""
        names = self.postgres.psql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        )
        return {
            name: int(self.postgres.psql(f'SELECT count(*) FROM "{name}"'))
            for name in names.split()
        }

    def ended(self) -> int:
        """Jobs that have ended."""
        return int(self.postgres.psql("SELECT count(*) FROM jobs WHERE state = 'completed'"))

    def _rabbitmq(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.rabbitmq.metrics_address}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(one.rpartition(" ")[2]) for one in lines if one.startswith(f"{name}{{"))


@contextmanager
def started() -> Iterator[System]:
    """A system on new servers, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="capacity-") as name:
        Path(name).chmod(0o711)
        system = System(Path(name))
        try:
            system.start()
            time.sleep(_SETTLED_S)
            yield system
        finally:
            system.stop()


def run(*, jobs: int, rate: float | None) -> dict[str, Any]:
    """Costs of some jobs, at so many a second or, without a rate, as fast as they are taken."""
    with started() as system:
        cpu, moved, rows = system.cpu_s(), system.moved(), system.rows()
        began = time.monotonic()
        url = f"http://127.0.0.1:{system.ports['gateway']}"
        if rate is None:
            _flat_out(url, jobs)
        else:
            _paced(url, jobs, rate)
        _until_ended(system, jobs)
        took = time.monotonic() - began
        # What follows the log is done a moment later.
        time.sleep(1.0)
        after, moved_then, rows_then = system.cpu_s(), system.moved(), system.rows()
    return {
        "jobs": jobs,
        "rate": rate,
        "seconds": round(took, 2),
        "cpu_s": {part: round(after[part] - cpu[part], 2) for part in after},
        "per_job": {n: round((moved_then[n] - moved[n]) / jobs, 4) for n in moved},
        "rows_per_job": {n: round((rows_then[n] - rows[n]) / jobs, 4) for n in rows_then},
        "load_average": round(os.getloadavg()[0], 2),
    }


def idle(seconds: float) -> dict[str, float]:
    """Processor seconds a second of each part while nothing comes."""
    with started() as system:
        before = system.cpu_s()
        time.sleep(seconds)
        after = system.cpu_s()
    return {part: round((after[part] - before[part]) / seconds, 4) for part in after}


def _flat_out(url: str, jobs: int) -> None:
    sizes = ["--jobs", str(jobs), "--size", str(BATCH), "--connections", str(_CONNECTIONS)]
    load = [sys.executable, "-m", "benchmarks.load", url, "batches", *sizes]
    subprocess.run(load, check=True, capture_output=True, timeout=_TIMEOUT_S)


def _paced(url: str, jobs: int, rate: float) -> None:
    from benchmarks.load import job

    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    began = time.monotonic()
    for start in range(0, jobs, BATCH):
        time.sleep(max(0.0, began + start / rate - time.monotonic()))
        body = json.dumps([job(n) for n in range(start, start + BATCH)]).encode()
        connection.request("POST", "/jobs/batch", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.ACCEPTED:
            raise RuntimeError(f"the gateway answers {answer.status}")
    connection.close()


def _until_ended(system: System, jobs: int) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while (found := system.ended()) < jobs:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{found} of {jobs} jobs have ended")
        time.sleep(0.5)


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing is ready at port {port}")


def _size(folder: Path) -> int:
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*") if one.is_file())
