"""The whole system in processes of its own, on shared backends, with a proxy on every line."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import oracle
import records
from proxy import Proxy
from workload import JOBS, LEDGER, Stream, result_of

from development.postgres import PostgresServer
from development.rabbitmq import RabbitmqServer
from development.redis import RedisServer
from real import MODULE_NAME, RunningSystem, environment, until

CONCURRENCY: Final = 16
PROCESSORS: Final = ("processor-1", "processor-2")
GATEWAYS: Final = ("gateway", "gateway-2")
SERVICES: Final = (*GATEWAYS, *PROCESSORS, "metrics-engine", "read-model")
STORE, SPINE, AGGREGATES = "store", "spine", "aggregates"

LEASE_S: Final = 4.0

_numbers = itertools.count(1)


@dataclass
class Servers:
    """What the system runs on; broken and mended by the faults."""

    postgres: PostgresServer
    rabbitmq: RabbitmqServer
    redis: RedisServer


@contextmanager
def servers(folder: Path, *, metrics: bool = False) -> Iterator[Servers]:
    """Private servers that keep what they confirmed; RabbitmqServer says what `metrics` are."""
    with (
        PostgresServer(folder / "postgres") as postgres,
        RabbitmqServer(folder / "rabbitmq", metrics=metrics) as rabbitmq,
        RedisServer(folder / "redis") as redis,
    ):
        yield Servers(postgres, rabbitmq, redis)


class Installation:
    """Two gateways, two processors, a metrics engine and a read model on a new database, a new
    virtual host and an emptied Redis; and the clients that submit to it."""

    def __init__(
        self, folder: Path, on: Servers, *, seed: int, pace_s: float, lease_s: float = LEASE_S
    ) -> None:
        self.folder = folder
        self.servers = on
        self.seed = seed
        self.lease_s = lease_s
        self.ledger = folder / LEDGER
        number = next(_numbers)
        self.vhost = f"faults-{number}"
        self.database = f"faults_{number}"
        on.postgres.psql(f"CREATE DATABASE {self.database}")
        on.rabbitmq.add_vhost(self.vhost)
        on.redis.cli("FLUSHALL")
        self._stack = ExitStack()
        self.lines: dict[tuple[str, str], Proxy] = {}
        self.services: dict[str, RunningSystem] = {}
        self.migrate()
        (folder / f"{MODULE_NAME}.py").write_text(JOBS)
        for name in SERVICES:
            self.services[name] = self._service(name)
        self.stream = Stream(self.services["gateway"].url, seed=seed, pace_s=pace_s, pause_s=0.03)
        self._probes = itertools.count(1)
        self.runs_cut_off = 0
        """How many times a processor may have lost what it was running."""

    def _urls(self) -> dict[str, str]:
        return {
            STORE: self.servers.postgres.url(self.database),
            SPINE: self.servers.rabbitmq.url(self.vhost),
            AGGREGATES: self.servers.redis.url(),
        }

    def migrate(self, **settings: str) -> str:
        """Migrate the store as an operator does, and return what is said of it."""
        done = subprocess.run(
            [sys.executable, "-m", "observatory.interfaces.cli.main", "migrate"],
            env=environment(OBSERVATORY_STORE_URL=self._urls()[STORE], **settings),
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    def _service(self, name: str) -> RunningSystem:
        settings = {
            "TEST_LEDGER": str(self.ledger),
            "OBSERVATORY_CONCURRENCY": str(CONCURRENCY),
            "OBSERVATORY_LEASE_SECONDS": str(self.lease_s),
            "OBSERVATORY_HEARTBEAT_SECONDS": "0.5",
            "OBSERVATORY_GRACE_SECONDS": "5",
        }
        for to, url in self._urls().items():
            line = self._stack.enter_context(Proxy(url, seed=self.seed))
            self.lines[name, to] = line
            settings[f"OBSERVATORY_{to.upper()}_URL"] = line.url
        command = name.rstrip("-0123456789")
        return RunningSystem(
            self.folder,
            arguments=[MODULE_NAME] if command == "processor" else [],
            environment=environment(**settings),
            command=command,
        )

    def __enter__(self) -> Installation:
        try:
            for service in self.services.values():
                service.start(wait=False)
            for service in self.services.values():
                service.wait_until_ready(timeout_s=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            service.http.close()
            service.kill()
        self._stack.close()

    # What is seen of it

    @property
    def reads(self) -> httpx.Client:
        """The read model."""
        return self.services["read-model"].http

    @property
    def running(self) -> int:
        """Handlers under way, by their own ledger."""
        return len(oracle.in_flight(oracle.effects(self.ledger)))

    def running_in(self, name: str) -> int:
        """Those of the process that this service is now."""
        process = self.services[name].process
        assert process is not None, f"{name} was never started"
        return len(oracle.in_flight(oracle.effects(self.ledger), process.pid))

    def lines_of(self, *services: str, to: str | None = None) -> list[Proxy]:
        """The lines of these services (of all where none is named), to one backend or to all."""
        return [
            line
            for (name, backend), line in self.lines.items()
            if (not services or name in services) and to in (None, backend)
        ]

    def under_load(self, accepted: int = 30) -> None:
        """Wait until so many more jobs were accepted and some are running: a fault hits work."""
        wanted = self.stream.client.acknowledged + accepted
        until(
            lambda: self.stream.client.acknowledged >= wanted and self.running > 0,
            timeout_s=60,
            why=lambda: f"vacuous: {self.stream.client.acknowledged} accepted, nothing to hit",
        )

    def seconds_to_recover(self, timeout_s: float = 90.0) -> float:
        """How long until a job submitted now has been taken, run and counted.

        Submitted anew each time it is not taken, as clients do.
        """
        began = time.monotonic()
        number = next(self._probes)
        gateway = self.services["gateway"].http
        job_id = until(
            lambda: self.stream.probe(gateway, number),
            timeout_s=timeout_s,
            why=lambda: "no job is taken",
        )

        def done() -> bool:
            answer = self.reads.get(f"/jobs/{job_id}")
            return answer.status_code == 200 and answer.json()["state"] == "completed"

        def current() -> bool:
            answer = self.reads.get("/stats")
            return (
                answer.status_code == 200
                and answer.json()["complete"]
                and answer.json()["lagSeconds"] < 1
            )

        until(done, timeout_s=timeout_s, why=lambda: f"the job is not run: {self._told(job_id)}")
        until(current, timeout_s=timeout_s, why=lambda: "the views are not current")
        return time.monotonic() - began

    def _told(self, job_id: str) -> str:
        """What is known of a job that does not go on, and the last lines of every process."""
        events = self.reads.get(f"/jobs/{job_id}/events").text
        workers = self.reads.get("/workers").text
        queues = self.servers.rabbitmq.ctl(
            "list_queues", "-p", self.vhost, "name", "messages", "consumers"
        )
        said = [f"{name}:\n{one.output[-1500:]}" for name, one in self.services.items()]
        return "\n".join((events, workers, queues, *said))

    def end(self, *, log_kept: bool = True, timeout_s: float = 120.0) -> oracle.Verdict:
        """End the clients, wait until all is done, stop everything, and judge."""
        self.stream.end(timeout_s=60)
        assert not self.stream.errors, self.stream.errors[:5]
        accepted = self.stream.client.acknowledged
        stats = oracle.wait_until_quiet(self.reads, accepted=accepted, timeout_s=timeout_s)
        for name, service in self.services.items():
            code = service.stop()
            assert code == 0, f"{name} ended with {code}:\n{service.output[-3000:]}"
        urls = self._urls()
        return oracle.judge(
            record=records.shared(urls[STORE], self.servers.rabbitmq, self.vhost, urls[AGGREGATES]),
            client=self.stream.client,
            ran=oracle.effects(self.ledger),
            stats=stats,
            kills=self.runs_cut_off,
            concurrency=CONCURRENCY,
            result_of=result_of,
            log_kept=log_kept,
        )
