"""A system with a long record that jobs keep coming to, for whoever watches it."""

import argparse
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from benchmarks.load import job
from benchmarks.reads.__main__ import rebuilt
from benchmarks.reads.filling import fill
from benchmarks.reads.services import Servers, command, service
from development.nginx import NginxServer

_BATCHES_PER_S: Final = 10


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments that say how long the record is, and how many jobs come."""
    parser.add_argument("--jobs", type=int, default=1_000_000, help="that have ended before")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=170.0, help="jobs submitted a second")
    parser.add_argument("--folder", help="where the data goes")
    parser.add_argument("--json", action="store_true", help="the figures on stdout")
    return parser.parse_args()


@dataclass(frozen=True)
class LoadedSystem:
    """Each service in a process of its own, behind nginx."""

    url: str
    reads_url: str
    rate: float

    @contextmanager
    def submitting(self) -> Iterator[dict[str, int]]:
        """Submit jobs at a fixed rate until the block ends; how many were accepted and refused."""
        told = {"accepted": 0, "refused": 0}
        ended = threading.Event()
        size = max(1, round(self.rate / _BATCHES_PER_S))
        body = json.dumps([job(n) for n in range(size)])

        def work() -> None:
            connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
            due = time.monotonic()
            while not ended.is_set():
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/jobs/batch", body, headers)
                answer = connection.getresponse()
                answer.read()
                told["accepted" if answer.status == 202 else "refused"] += size
                due += size / self.rate
                ended.wait(max(0.0, due - time.monotonic()))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield told
        finally:
            ended.set()
            thread.join(60)


@contextmanager
def loaded_system(
    jobs: int, rate: float, within: str | None, console: Console
) -> Iterator[LoadedSystem]:
    """A private PostgreSQL filled with so many ended jobs, and the services that serve it.

    Args:
        jobs: that have ended before.
        rate: jobs a second that `submitting` submits; each makes three transitions.
        within: the folder for the data; the system's own for temporary files where None.
        console: told what takes long.
    """
    with (
        tempfile.TemporaryDirectory(prefix="observatory-load-", dir=within) as temporary,
        ExitStack() as stack,
    ):
        folder = Path(temporary)
        folder.chmod(0o711)
        servers = Servers(folder)
        stack.enter_context(servers.running())
        command(servers.settings, "migrate")
        console.print(f"filling PostgreSQL with {jobs:,} jobs")
        fill(servers.postgres.url(), jobs)
        began = time.monotonic()
        engine = stack.enter_context(service(folder, servers.settings, "metrics-engine"))
        rebuilt(engine, began)
        gateway = stack.enter_context(service(folder, servers.settings, "gateway"))
        stack.enter_context(service(folder, servers.settings, "processor", "benchmarks.jobs"))
        reads = stack.enter_context(service(folder, servers.settings, "read-model"))
        edge = stack.enter_context(
            NginxServer(folder / "edge", urlsplit(gateway.url).netloc, urlsplit(reads.url).netloc)
        )
        yield LoadedSystem(edge.url(), reads.url, rate)
