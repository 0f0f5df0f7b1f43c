"""The fire drill: faults are caused in a real system, and their alerts followed to whoever is told.

Real services, Prometheus and Alertmanager, on private ports; in the rules time passes sixty times
as fast. For each fault its alert must fire, reach a webhook through Alertmanager, be shown by the
read model, and be told to be over after the fault was mended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import aiormq
import psycopg
import redis

FAULTS = Path(__file__).parents[1] / "faults"
sys.path[:0] = [str(path) for path in (FAULTS,) if str(path) not in sys.path]

from installation import AGGREGATES, GATEWAYS, PROCESSORS, SPINE, Installation, servers  # noqa: E402

import real  # noqa: E402
from development.nginx import NginxExporter, NginxServer  # noqa: E402
from development.postgres import PostgresReplica  # noqa: E402
from development.prometheus import (  # noqa: E402
    AlertmanagerServer,
    PostgresExporter,
    PrometheusServer,
    RedisExporter,
)
from monitoring import scraping  # noqa: E402
from monitoring.rules import Pace, rules  # noqa: E402

PACE: Final = Pace(factor=60, least_s=5, oldest_s=10)
"""Windows of 5 s at least hold some samples of a scrape a second."""
_SCRAPE: Final = "1s"
_UNACKED: Final = 1_100
_CONNECTIONS: Final = (
    "SELECT setting::int, (SELECT count(*) FROM pg_stat_activity) FROM pg_settings"
    " WHERE name = 'max_connections'"
)
_WRITE_100_MB: Final = (
    "SELECT count(pg_logical_emit_message(false, 'drill', repeat('x', 1000000)))"
    " FROM generate_series(1, 100)"
)
"""Into PostgreSQL's log, and into no table."""
_FIRES_WITHIN_S: Final = 60.0
_RESOLVES_WITHIN_S: Final = 120.0


def until(condition: Callable[[], Any], *, timeout_s: float, why: Callable[[], str] = str) -> None:
    """Like `real.until`, without asking so often that Prometheus has no time for its rules."""

    def slowly() -> Any:
        time.sleep(0.2)
        return condition()

    real.until(slowly, timeout_s=timeout_s, why=why)


class Receiver:
    """A webhook that notes what Alertmanager tells it."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, str]] = []
        """When, which alert, and firing or resolved."""
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                for alert in body["alerts"]:
                    name = alert["labels"]["alertname"]
                    receiver.told.append((time.monotonic(), name, alert["status"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def heard(self, alert: str, status: str, since: float) -> bool:
        """Whether it was told that since an instant."""
        return any(at >= since and (name, s) == (alert, status) for at, name, s in self.told)

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Site:
    """What the drill happens on."""

    on: Installation
    prometheus: PrometheusServer
    alertmanager: AlertmanagerServer
    receiver: Receiver
    edge: NginxServer
    replica: PostgresReplica
    of_redis: RedisExporter

    def firing(self) -> set[str]:
        """Alerts that fire in Prometheus."""
        return {
            alert["labels"]["alertname"]
            for alert in self.prometheus.alerts()
            if alert["state"] == "firing"
        }

    def shown(self) -> set[str]:
        """Alerts that the read model shows."""
        answer = self.on.reads.get("/alerts")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["source"] == "alertmanager"
        return {item["name"] for item in body["items"]}

    def submit(self, type: str, count: int = 1, **payload: Any) -> None:
        """Submit some jobs, in one request."""
        item: dict[str, Any] = {"type": type, "payload": {"n": 1, "pause": 0.0, **payload}}
        answer = self.on.services["gateway"].http.post("/jobs/batch", json=[item] * count)
        assert answer.status_code == 202, answer.text

    def keep_submitting(
        self, every_s: float, type: str, count: int, **payload: Any
    ) -> Callable[[], None]:
        """Submit so many again and again, until what is returned is called."""
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(every_s):
                self.submit(type, count, **payload)

        submitting = threading.Thread(target=go_on, daemon=True)
        submitting.start()

        def end() -> None:
            ended.set()
            submitting.join(10)

        return end


@contextmanager
def site(folder: Path, seed: int = 20261127) -> Iterator[Site]:
    """Everything, running."""
    with ExitStack() as stack:
        on_servers = stack.enter_context(servers(folder / "servers", metrics=True))
        receiver = Receiver()
        stack.callback(receiver.close)
        alertmanager = stack.enter_context(
            AlertmanagerServer(
                folder / "alertmanager", scraping.alertmanager(receiver.url, wait="1s", again="1m")
            )
        )
        (folder / "installation").mkdir()
        system = Installation(folder / "installation", on_servers, seed=seed, pace_s=0.5)
        for service in system.services.values():
            service.configure(
                OBSERVATORY_CANARY_SECONDS="0.5", OBSERVATORY_ALERTMANAGER_URL=alertmanager.url()
            )
        stack.enter_context(system)
        replica = stack.enter_context(PostgresReplica(folder / "replica", on_servers.postgres))
        of_redis = stack.enter_context(RedisExporter(folder / "of-redis", on_servers.redis.url()))
        backends = {
            "rabbitmq": [on_servers.rabbitmq.metrics_address],
            "postgres": [
                stack.enter_context(
                    PostgresExporter(folder / "of-postgres", on_servers.postgres.url("postgres"))
                ).address
            ],
            "redis": [of_redis.address],
        }
        edge = stack.enter_context(
            NginxServer(
                folder / "edge",
                f"127.0.0.1:{system.services['gateway'].port}",
                f"127.0.0.1:{system.services['read-model'].port}",
            )
        )
        of_edge = NginxExporter(folder / "of-edge", edge.status_url())
        backends["nginx"] = [stack.enter_context(of_edge).address]
        prometheus = PrometheusServer(
            folder / "prometheus",
            scraping.prometheus(
                {
                    name.rstrip("-0123456789"): [
                        f"127.0.0.1:{service.port}"
                        for other, service in system.services.items()
                        if other.rstrip("-0123456789") == name.rstrip("-0123456789")
                    ]
                    for name in system.services
                },
                interval=_SCRAPE,
                alertmanager=alertmanager.address,
                others=backends,
            ),
            rules(PACE),
        )
        stack.enter_context(prometheus)
        yield Site(system, prometheus, alertmanager, receiver, edge, replica, of_redis)


Cause = Callable[[Site], Callable[[], None]]
"""Causes a fault, and returns what mends it."""


def service_dies(at: Site) -> Callable[[], None]:
    """A gateway is killed."""
    victim = at.on.services["gateway-2"]
    victim.kill()
    return victim.start


def no_numbers(at: Site) -> Callable[[], None]:
    """The metrics engine ends, and nobody takes its place."""
    engine = at.on.services["metrics-engine"]
    engine.stop()
    return engine.start


def no_processors(at: Site) -> Callable[[], None]:
    """Every processor ends."""
    for name in PROCESSORS:
        at.on.services[name].stop()
    return lambda: _start_all(at, PROCESSORS)


def _start_all(at: Site, names: tuple[str, ...]) -> None:
    for name in names:
        at.on.services[name].start(wait=False)
    for name in names:
        at.on.services[name].wait_until_ready(timeout_s=60)


def backlog(at: Site) -> Callable[[], None]:
    """A queue is paused while jobs come into it."""
    answer = at.on.services["gateway"].http.post("/queues/waiting/pause")
    assert answer.status_code == 200
    end = at.keep_submitting(0.5, "wait", 3)

    def mend() -> None:
        end()
        at.on.services["gateway"].http.post("/queues/waiting/resume")

    return mend


def paused(at: Site) -> Callable[[], None]:
    """A queue is paused and forgotten."""
    at.on.services["gateway"].http.post("/queues/doomed/pause")
    return lambda: at.on.services["gateway"].http.post("/queues/doomed/resume")


def slow_jobs(at: Site) -> Callable[[], None]:
    """Jobs take long."""
    return at.keep_submitting(0.4, "wait", 1, pause=7.0)


def failures(at: Site) -> Callable[[], None]:
    """Every job fails."""
    return at.keep_submitting(0.5, "doomed", 10)


def dead_letters(at: Site) -> Callable[[], None]:
    """Somebody publishes what nobody can read."""

    async def publish() -> None:
        connection = await aiormq.connect(at.on.servers.rabbitmq.url(at.on.vhost))
        channel = await connection.channel()
        listed = at.on.servers.rabbitmq.ctl("list_queues", "-p", at.on.vhost, "name")
        queue = next(q for q in listed.split() if q.startswith("observatory.work."))
        for _ in range(3):
            await channel.basic_publish(b"no work message", routing_key=queue)
        await connection.close()

    asyncio.run(publish())
    return lambda: None


def leases(at: Site) -> Callable[[], None]:
    """A processor is killed while it runs jobs."""
    victim = at.on.services["processor-1"]
    at.submit("wait", 40, pause=3.0)
    until(lambda: at.on.running >= 20, timeout_s=30)
    victim.kill()
    return victim.start


def outbox(at: Site) -> Callable[[], None]:
    """Who publishes does not reach the broker."""
    lines = at.on.lines_of(*GATEWAYS, *PROCESSORS, to=SPINE)
    for line in lines:
        line.closed = True
        line.cut()
    at.submit("wait", 5)

    def mend() -> None:
        for line in lines:
            line.closed = False

    return mend


def lag(at: Site) -> Callable[[], None]:
    """The metrics engine applies nothing."""
    engine = at.on.services["metrics-engine"]
    engine.stop()
    engine.configure(OBSERVATORY_FAILPOINTS="engine.before_apply=raise:1.0")
    engine.start(wait=False)
    at.submit("wait", 5)

    def mend() -> None:
        engine.stop()
        engine.configure(OBSERVATORY_FAILPOINTS="")
        engine.start()

    return mend


def backend_away(at: Site) -> Callable[[], None]:
    """The read model does not reach Redis."""
    lines = at.on.lines_of("read-model", to=AGGREGATES)
    for line in lines:
        line.closed = True
        line.cut()

    def mend() -> None:
        for line in lines:
            line.closed = False

    return mend


def broker_alarm(at: Site) -> Callable[[], None]:
    """RabbitMQ lacks memory."""
    at.on.servers.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")

    def mend() -> None:
        at.on.servers.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    return mend


def frozen(at: Site) -> Callable[[], None]:
    """Processors stand still: heartbeat jobs are accepted and not run."""
    stopped = [at.on.services[name] for name in PROCESSORS]
    for service in stopped:
        service.signal(signal.SIGSTOP)

    def mend() -> None:
        for service in stopped:
            service.signal(signal.SIGCONT)

    return mend


def broker_disk(at: Site) -> Callable[[], None]:
    """RabbitMQ's disk fills up: what it stops at comes near."""
    free = shutil.disk_usage(at.on.servers.rabbitmq.folder).free
    at.on.servers.rabbitmq.ctl("set_disk_free_limit", str(free // 2))
    return lambda: at.on.servers.rabbitmq.ctl("set_disk_free_limit", "50MB")


def unacked(at: Site) -> Callable[[], None]:
    """Somebody takes messages and never answers for them."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(_take(at, "hoarded", _UNACKED))

    def mend() -> None:
        loop.run_until_complete(connection.close())
        loop.close()
        at.on.servers.rabbitmq.ctl("delete_queue", "-p", at.on.vhost, "hoarded")

    return mend


async def _take(at: Site, queue: str, count: int) -> aiormq.abc.AbstractConnection:
    """Put so many messages into a queue of its own and take them, without acknowledgement."""
    connection = await aiormq.connect(at.on.servers.rabbitmq.url(at.on.vhost))
    channel = await connection.channel()
    await channel.queue_declare(queue, durable=True)
    for _ in range(count):
        await channel.basic_publish(b"", routing_key=queue)
    all_came, taken = asyncio.Event(), itertools.count(1)

    async def keep(_: aiormq.abc.DeliveredMessage) -> None:
        if next(taken) == count:
            all_came.set()

    await channel.basic_consume(queue, keep)
    await asyncio.wait_for(all_came.wait(), 30)
    return connection


def connections(at: Site) -> Callable[[], None]:
    """Somebody opens connections to PostgreSQL and keeps them."""
    url = at.on.servers.postgres.url("postgres")
    with psycopg.connect(url) as one:
        limit, used = one.execute(_CONNECTIONS).fetchone() or (0, 0)
    held = [psycopg.connect(url) for _ in range(int(limit * 0.9) - used)]

    def mend() -> None:
        for connection in held:
            connection.close()

    return mend


def evicting(at: Site) -> Callable[[], None]:
    """Redis is full and throws away what it was given."""
    with redis.Redis.from_url(at.on.servers.redis.url()) as asked:
        asked.config_set("maxmemory-policy", "allkeys-lru")
        asked.config_set("maxmemory", asked.info("memory")["used_memory"] - 1)
    end = at.keep_submitting(0.5, "wait", 3)

    def mend() -> None:
        end()
        with redis.Redis.from_url(at.on.servers.redis.url()) as asked:
            asked.config_set("maxmemory", 0)
            asked.config_set("maxmemory-policy", "noeviction")

    return mend


def broker_memory(at: Site) -> Callable[[], None]:
    """RabbitMQ comes near the memory that it stops at."""
    used = at.prometheus.query("rabbitmq_process_resident_memory_bytes")[0]["value"][1]
    ctl = at.on.servers.rabbitmq.ctl
    ctl("set_vm_memory_high_watermark", "absolute", str(round(float(used) / 0.9)))
    return lambda: ctl("set_vm_memory_high_watermark", "absolute", "1GB")


def redis_memory(at: Site) -> Callable[[], None]:
    """Redis comes near the memory that it may use."""
    with redis.Redis.from_url(at.on.servers.redis.url()) as asked:
        asked.config_set("maxmemory", round(asked.info("memory")["used_memory"] / 0.95))

    def mend() -> None:
        with redis.Redis.from_url(at.on.servers.redis.url()) as asked:
            asked.config_set("maxmemory", 0)

    return mend


def replication(at: Site) -> Callable[[], None]:
    """A replica replays nothing, while much is written."""
    at.replica.psql("SELECT pg_wal_replay_pause()")
    at.on.servers.postgres.psql(_WRITE_100_MB)

    def mend() -> None:
        at.replica.psql("SELECT pg_wal_replay_resume()")

    return mend


def exporter_dies(at: Site) -> Callable[[], None]:
    """Redis' exporter is killed."""
    at.of_redis.kill()

    def mend() -> None:
        at.of_redis.start()

    return mend


def edge_dies(at: Site) -> Callable[[], None]:
    """The edge is killed."""
    at.edge.kill()

    def mend() -> None:
        at.edge.start()

    return mend


DRILLS: Final[dict[str, Cause]] = {
    "ObservatoryServiceDown": service_dies,
    "ObservatoryNumbersMissing": no_numbers,
    "ObservatoryNoProcessors": no_processors,
    "ObservatoryHeartbeatStalled": frozen,
    "ObservatoryBackendUnreachable": backend_away,
    "ObservatoryOutboxStuck": outbox,
    "ObservatoryProjectionLagging": lag,
    "ObservatoryBacklogGrowing": backlog,
    "ObservatoryQueuePausedLong": paused,
    "ObservatoryJobLatencyHigh": slow_jobs,
    "ObservatoryDeadLettersGrowing": dead_letters,
    "ObservatoryLeasesExpiring": leases,
    "ObservatoryBrokerAlarm": broker_alarm,
    "ObservatoryBrokerDiskLow": broker_disk,
    "ObservatoryBrokerMemoryHigh": broker_memory,
    "ObservatoryBrokerUnacked": unacked,
    "ObservatoryPostgresConnectionsHigh": connections,
    "ObservatoryPostgresReplicationLagging": replication,
    "ObservatoryRedisMemoryHigh": redis_memory,
    "ObservatoryExporterDown": exporter_dies,
    "ObservatoryRedisEvicting": evicting,
    "ObservatoryEdgeUnavailable": edge_dies,
    "ObservatoryJobFailureRatioHigh": failures,
    "ObservatoryJobFailureRatioRaised": failures,
}
"""What causes each alert."""


@dataclass(frozen=True)
class Outcome:
    """Seconds from the fault until the alert fired, was told and shown; from its mending until it
    was told to be over."""

    alert: str
    fired_s: float
    delivered_s: float
    shown_s: float
    resolved_s: float


def drill(at: Site, alert: str) -> Outcome:
    """Cause the fault of an alert and follow it. Raises AssertionError where it goes nowhere."""
    until(
        lambda: alert not in at.firing() and alert not in at.shown(),
        timeout_s=_RESOLVES_WITHIN_S,
        why=lambda: f"{alert} fires before anything was done",
    )
    began = time.monotonic()
    mend = DRILLS[alert](at)
    try:
        until(
            lambda: alert in at.firing(),
            timeout_s=_FIRES_WITHIN_S,
            why=lambda: f"{alert} does not fire",
        )
        fired = time.monotonic()
        until(
            lambda: at.receiver.heard(alert, "firing", began),
            timeout_s=_FIRES_WITHIN_S,
            why=lambda: f"nobody was told of {alert}",
        )
        delivered = time.monotonic()
        until(
            lambda: alert in at.shown(),
            timeout_s=_FIRES_WITHIN_S,
            why=lambda: f"{alert} is not shown",
        )
        shown = time.monotonic()
    finally:
        mending = time.monotonic()
        mend()
    mended = time.monotonic()
    until(
        lambda: at.receiver.heard(alert, "resolved", mending) and alert not in at.shown(),
        timeout_s=_RESOLVES_WITHIN_S,
        why=lambda: f"{alert} is not told to be over; firing: {at.firing()}",
    )
    resolved = time.monotonic()
    return Outcome(alert, fired - began, delivered - began, shown - began, resolved - mended)
