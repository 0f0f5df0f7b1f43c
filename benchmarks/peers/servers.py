"""The servers of a measurement, and a contestant's own place on them."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contestants import Contestant, Running, running
from development.postgres import PostgresServer
from development.process import Server
from development.rabbitmq import RabbitmqServer
from development.redis import RedisServer


@dataclass
class Servers:
    """RabbitMQ, PostgreSQL and Redis with nothing on them, in a folder."""

    folder: Path
    postgres: PostgresServer
    rabbitmq: RabbitmqServer
    redis: RedisServer
    count: int = 0

    def roots(self, system: Running) -> set[int]:
        """The processes of a contestant and of the servers that it uses."""
        all_of_them: tuple[Server, ...] = (self.postgres, self.rabbitmq, self.redis)
        used = {one.pid for one in all_of_them if one.name in system.contestant.servers}
        return used | {process.pid for process in system.processes}

    @contextmanager
    def system(self, contestant: Contestant, python: Path, *, slotted: bool) -> Iterator[Running]:
        """A contestant without its workers, on an empty database, virtual host and Redis."""
        self.count += 1
        folder = self.folder / f"{self.count}"
        folder.mkdir()
        self.redis.cli("FLUSHALL")
        amqp = self.rabbitmq.add_vhost(f"bench-{self.count}")
        urls = {"BENCH_AMQP": amqp, "BENCH_REDIS": self.redis.url()}
        if contestant.over_http:
            urls |= self._settings(amqp)
        try:
            with running(contestant, folder, python, urls, slotted=slotted) as system:
                try:
                    yield system
                except (RuntimeError, subprocess.SubprocessError) as error:
                    raise RuntimeError(f"{error}\n{system.said()}") from error
        finally:
            self.rabbitmq.ctl("delete_vhost", f"bench-{self.count}")

    def _settings(self, amqp: str) -> dict[str, str]:
        name = f"bench_{self.count}"
        self.postgres.psql(f"CREATE DATABASE {name}")
        settings = {
            "OBSERVATORY_SPINE_URL": amqp,
            "OBSERVATORY_STORE_URL": self.postgres.url(name),
            "OBSERVATORY_AGGREGATES_URL": self.redis.url(),
        }
        migrate = [sys.executable, "-m", "observatory.interfaces.cli.main", "migrate"]
        subprocess.run(migrate, env=os.environ | settings, check=True, capture_output=True)
        return settings


@contextmanager
def serving(parent: str | None) -> Iterator[Servers]:
    """New servers, so that nobody is charged for what another one left behind."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-", dir=parent))
        home = Path(name)
        home.chmod(0o755)
        servers = Servers(
            home,
            PostgresServer(home / "postgres"),
            RabbitmqServer(home / "rabbitmq"),
            RedisServer(home / "redis"),
        )
        started = (servers.postgres, servers.rabbitmq, servers.redis)
        for server in started:
            stack.callback(server.stop)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda server: server.start(), started))
        yield servers
