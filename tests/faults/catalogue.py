"""The faults: how each is injected, how it is known to have fired, and how it ends.

Each function returns once the fault has ended and everything that it broke was mended from outside,
as an operator or a supervisor would: a process that died is started again, a server too. A fault
that cannot be shown to have fired fails as vacuous. Numbers are those of the fault matrix in
`docs/reference/faults.md`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from real import RunningSystem, until

if TYPE_CHECKING:
    from collections.abc import Iterator

from installation import (
    AGGREGATES,
    GATEWAYS,
    LEASE_S,
    PROCESSORS,
    SPINE,
    STORE,
    Installation,
)

Inject = Callable[[Installation], None]


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    number: str
    name: str
    inject: Inject
    runs_cut_off: int = 0
    """How many processors may lose what they are running."""
    log_kept: bool = True
    lease_s: float = LEASE_S


def fired(evidence: object, what: str) -> None:
    """Fail as vacuous where there is no evidence of the fault."""
    assert evidence, f"vacuous: {what}"


# Processes that die at a named place


def dies_at(services: Iterable[str], failpoint: str, passes: int = 3) -> Inject:
    """Whichever of these services comes by the failpoint dies there; then it is started again."""

    def inject(on: Installation) -> None:
        armed = [on.services[name] for name in services]
        for service in armed:
            service.stop()
            service.configure(OBSERVATORY_FAILPOINTS=f"{failpoint}=kill@{passes}")
            service.start(wait=False)
        until(
            lambda: any(not service.alive for service in armed),
            timeout_s=60,
            why=lambda: f"vacuous: nobody came by {failpoint} {passes} times",
        )
        for service in armed:
            service.configure(OBSERVATORY_FAILPOINTS="")
            if service.alive:
                service.stop()
        said = [service for service in armed if f"failpoint {failpoint}: kill" in service.output]
        fired(said, f"nothing says that {failpoint} was reached")
        _start(armed)

    return inject


def _start(services: Iterable[RunningSystem]) -> None:
    """Start these side by side; returns once all are ready."""
    services = list(services)
    for service in services:
        service.start(wait=False)
    for service in services:
        service.wait_until_ready(timeout_s=60)


def processor_is_killed(on: Installation) -> None:
    """SIGKILL to a processor in the middle of its runs."""
    victim = on.services["processor-1"]
    on.under_load()
    victim.kill_when(lambda: on.running_in("processor-1"))
    victim.start()


def relay_dies(failpoint: str) -> Inject:
    """A gateway leaves commits behind, and the processor that publishes them dies over it."""

    def inject(on: Installation) -> None:
        for name in PROCESSORS:
            on.services[name].stop()
            on.services[name].configure(OBSERVATORY_FAILPOINTS=f"{failpoint}=kill@1")
        dies_at(["gateway"], "gateway.after_commit", 2)(on)
        for name in PROCESSORS:
            on.services[name].start(wait=False)
        armed = [on.services[name] for name in PROCESSORS]
        until(
            lambda: any(not service.alive for service in armed),
            timeout_s=60,
            why=lambda: f"vacuous: nobody came by {failpoint}",
        )
        fired(
            any(f"failpoint {failpoint}: kill" in s.output for s in armed),
            f"nothing says that {failpoint} was reached",
        )
        for service in armed:
            service.configure(OBSERVATORY_FAILPOINTS="")
            if service.alive:
                service.stop()
        _start(armed)

    return inject


def processor_is_frozen(on: Installation) -> None:
    """A processor stands still until it is taken for dead, and then goes on where it was."""
    on.under_load()
    victim = on.services["processor-1"]
    assert victim.process is not None
    lost = f"SELECT 1 FROM workers WHERE state = 'lost' AND pid = {victim.process.pid}"
    victim.freeze_when(lambda: on.running_in("processor-1"))
    try:
        until(
            lambda: on.servers.postgres.psql(lost, on.database),
            timeout_s=LEASE_S + 20,
            why=lambda: "vacuous: nobody took it for dead",
        )
        time.sleep(1.0)  # the other one may have begun to run what it ran
    finally:
        victim.signal(signal.SIGCONT)


def rolling_restart(on: Installation) -> None:
    """SIGTERM to each processor in turn, twice."""
    for name in PROCESSORS * 2:
        on.under_load()
        service = on.services[name]
        assert service.stop() == 0, service.output[-2000:]
        service.start()


def everything_is_killed(on: Installation) -> None:
    """Processors are away, work piles up, then every process dies and is started again."""
    for name in PROCESSORS:
        on.services[name].stop()
    before = on.stream.client.acknowledged
    until(lambda: on.stream.client.acknowledged >= before + 200, timeout_s=60)
    for service in on.services.values():
        service.kill()
    waiting = int(
        on.servers.postgres.psql("SELECT count(*) FROM jobs WHERE state = 'queued'", on.database)
    )
    fired(waiting >= 200, f"only {waiting} jobs were waiting")
    _start(on.services.values())


# The broker


def broker_restarts(on: Installation) -> None:
    """The broker's application is stopped and started."""
    on.under_load()
    on.servers.rabbitmq.ctl("stop_app")
    during = _submitted_during(on, seconds=2.0)
    on.servers.rabbitmq.ctl("start_app")
    fired(during, "no job was taken while it was away")


def broker_is_killed(on: Installation) -> None:
    """SIGKILL to the broker."""
    # RabbitMQ 3.10 forgets a stream that it was told of less than a few minutes before it is
    # killed, unless it was shut down in between.
    on.servers.rabbitmq.restart()
    on.seconds_to_recover()
    on.under_load()
    on.servers.rabbitmq.kill()
    during = _submitted_during(on, seconds=2.0)
    on.servers.rabbitmq.start()
    fired(during, "no job was taken while it was away")


def broker_drops_everybody(on: Installation) -> None:
    """Every connection to the broker is closed, five times."""
    for _ in range(5):
        on.under_load(accepted=5)
        # It answers that nothing was there to close if nothing was.
        fired(
            on.servers.rabbitmq.ctl("list_connections", "pid"),
            "there was no connection to be closed",
        )
        on.servers.rabbitmq.ctl("close_all_connections", "-p", on.vhost, "a test")


def broker_has_no_memory(on: Installation) -> None:
    """The memory alarm blocks everybody who publishes."""
    on.under_load()
    on.servers.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        until(
            lambda: "block" in on.servers.rabbitmq.ctl("list_connections", "state"),
            timeout_s=20,
            why=lambda: "vacuous: nobody was blocked",
        )
        fired(_submitted_during(on, seconds=3.0), "no job was taken meanwhile")
    finally:
        on.servers.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")


def _work_queues(on: Installation) -> dict[str, int]:
    listed = on.servers.rabbitmq.ctl("list_queues", "-p", on.vhost, "name", "messages", "--silent")
    pairs = [line.split() for line in listed.splitlines()]
    return {name: int(count) for name, count in pairs if name.startswith("observatory.work.")}


@contextmanager
def _work_piled_up(on: Installation) -> Iterator[dict[str, int]]:
    for name in PROCESSORS:
        on.services[name].stop()
    before = on.stream.client.acknowledged
    until(lambda: on.stream.client.acknowledged >= before + 50, timeout_s=60)
    until(lambda: sum(_work_queues(on).values()) > 5, timeout_s=20)
    yield _work_queues(on)
    _start(on.services[name] for name in PROCESSORS)


def work_queues_are_emptied(on: Installation) -> None:
    """Every message in the work queues is thrown away."""
    with _work_piled_up(on) as queues:
        for name, messages in queues.items():
            if messages:
                on.servers.rabbitmq.ctl("purge_queue", "-p", on.vhost, name)
        fired(sum(queues.values()), "there was nothing to throw away")


def work_queues_are_deleted(on: Installation) -> None:
    """The work queues are deleted under the processors that take from them."""
    on.under_load()
    queues = _work_queues(on)
    for name in queues:
        on.servers.rabbitmq.ctl("delete_queue", "-p", on.vhost, name)
    fired(queues, "there was no queue")


def log_is_deleted(on: Installation) -> None:
    """The event log is deleted."""
    on.under_load()
    on.servers.rabbitmq.ctl("delete_queue", "-p", on.vhost, "observatory.events")


# The store


def commits_are_cut_off(on: Installation) -> None:
    """Lines to PostgreSQL are cut after a COMMIT left and before its answer came."""
    lines = on.lines_of(*GATEWAYS, *PROCESSORS, to=STORE)
    for line in lines:
        line.cut_after = b"COMMIT"
    time.sleep(2.0)
    for line in lines:
        line.cut_after = None
    fired(sum(line.cuts for line in lines), "no commit was cut off")


def postgres_is_away(seconds: float) -> Inject:
    """Nobody reaches PostgreSQL, from the answers to commits that were under way on: for longer
    than a commit is looked for, and for less than a lease."""

    def inject(on: Installation) -> None:
        lines = on.lines_of(*GATEWAYS, *PROCESSORS, to=STORE)
        on.under_load()
        cuts = sum(line.cuts for line in lines)
        for line in lines:
            line.cut_after, line.closed = b"COMMIT", True
        time.sleep(0.5)
        fired(sum(line.cuts for line in lines) - cuts, "no commit was cut off")
        for line in lines:
            line.cut()
        time.sleep(seconds - 0.5)
        for line in lines:
            line.cut_after, line.closed = None, False
        fired(any(line.refused for line in lines), "nobody missed it")

    return inject


def postgres_is_killed(on: Installation) -> None:
    """SIGKILL to PostgreSQL under load, and recovery from its log."""
    on.under_load()
    on.servers.postgres.kill()
    refused = on.services["gateway"].http.get("/readyz")
    time.sleep(1.0)
    on.servers.postgres.start()
    fired(refused.status_code == 503, "nobody noticed")


def postgres_is_slow(on: Installation) -> None:
    """Every packet to and from PostgreSQL takes a second."""
    lines = on.lines_of(*GATEWAYS, to=STORE)
    on.under_load()
    for line in lines:
        line.delay_s = 1.0
    began = time.monotonic()
    with httpx.Client(base_url=on.services["gateway"].url, timeout=30, trust_env=False) as http:
        on.stream.probe(http, 1_000_000)
    took_s = time.monotonic() - began
    time.sleep(4.0)
    for line in lines:
        line.delay_s = 0.0
    fired(took_s > 1.0, f"a submit took {took_s:.2f} s only")


def one_key_at_once(on: Installation) -> None:
    """A hundred clients submit under one key, at two gateways, while PostgreSQL is restarted."""
    body = {"type": "wait", "payload": {"n": 7, "pause": 0.0}}
    submit = on.stream.client.want(f"one-key-{on.seed}", "wait", 7)
    answers: list[int] = []

    def ask(number: int) -> None:
        service = on.services[GATEWAYS[number % 2]]
        with httpx.Client(base_url=service.url, timeout=20, trust_env=False) as http:
            while True:
                on.stream.client.sent([submit])
                answer = http.post("/jobs", json=body, headers={"Idempotency-Key": submit.key})
                answers.append(answer.status_code)
                on.stream.client.answered(
                    submit,
                    answer.status_code,
                    answer.json().get("jobId"),
                    replayed="idempotent-replayed" in answer.headers,
                )
                if answer.status_code < 500:
                    return
                time.sleep(0.2)

    on.servers.postgres.kill()
    with ThreadPoolExecutor(100) as clients:
        asked = [clients.submit(ask, number) for number in range(100)]
        time.sleep(0.5)
        on.servers.postgres.start()
        for one in asked:
            one.result(timeout=60)
    fired(503 in answers, "PostgreSQL was there all the time")
    assert answers.count(202) == 100, answers
    assert len(submit.job_ids) == 1, submit.job_ids


# Redis


def redis_is_killed(on: Installation) -> None:
    """SIGKILL to Redis; it comes back with what it had written down."""
    on.under_load()
    on.servers.redis.kill()
    until(
        lambda: on.reads.get("/stats").status_code == 503,
        timeout_s=20,
        why=lambda: "vacuous: the views never missed it",
    )
    fired(_submitted_during(on, seconds=1.0), "no job was taken meanwhile")
    on.servers.redis.start()


def redis_is_emptied(on: Installation) -> None:
    """Redis forgets everything."""
    on.under_load()
    before = on.servers.redis.cli("HGET", "{observatory}:current", "generation")
    on.servers.redis.cli("FLUSHALL")
    until(
        lambda: (
            on.servers.redis.cli("HGET", "{observatory}:current", "generation")
            not in ("", "(nil)", before)
        ),
        timeout_s=60,
        why=lambda: "it was never counted again",
    )


# The network


def held(services: Iterable[str], to: str, seconds: float) -> Inject:
    """Nothing passes between these services and a backend, and nobody is told."""

    def inject(on: Installation) -> None:
        lines = on.lines_of(*services, to=to)
        on.under_load()
        for line in lines:
            line.held = True
        time.sleep(seconds)
        withheld = sum(line.withheld for line in lines)
        for line in lines:
            line.held = False
            # Bytes were lost, so no connection can go on; a network would have retransmitted.
            line.cut()
        fired(withheld, "nothing was sent meanwhile")

    return inject


def shaky(seconds: float) -> Inject:
    """Every line is slow and unsteady, and now and then reset."""

    def inject(on: Installation) -> None:
        lines = on.lines_of()
        on.under_load()
        for line in lines:
            line.delay_s, line.jitter_s, line.reset_share = 0.02, 0.2, 0.01
        time.sleep(seconds)
        for line in lines:
            line.delay_s = line.jitter_s = line.reset_share = 0.0
        fired(sum(line.cuts for line in lines) > 2, "hardly a line was reset")

    return inject


# Hostile callers

_BOMBS: tuple[bytes, ...] = (
    b'{"type":"wait","payload":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    b'{"type":"wait","payload":{"n":NaN,"pause":0}}',
    b'{"type":"wait","payload":{"n":1e400,"pause":0}}',
    b'{"type":"wait","payload":{"n":' + b"9" * 300 + b',"pause":0}}',
    b'{"type":"wait","payload":{"n":1,"n":2,"pause":0}}',
    b'{"type":"wait","payload":{"n":1,"pause":0},"queue":"a\\u0000b"}',
    b'{"type":"wait","payload":{"n":1,"pause":0,"x":"\\ud800"}}',
    b'{"type":"wait","payload":{"n":1,"pause":0},"queue":"\xff\xfe"}',
    b"\xef\xbb\xbf{}",
    b'{"type":"wait","payload":{"n":1,"pause":0},"pad":"' + b"x" * (3 << 20) + b'"}',
)


def payload_bombs(on: Installation) -> None:
    """Bodies made to hurt, while others go on: each is refused, none is answered by a 5xx."""
    answers: list[httpx.Response] = []
    with httpx.Client(base_url=on.services["gateway"].url, timeout=20, trust_env=False) as http:
        before, until_s = on.stream.client.acknowledged, time.monotonic() + 30
        while on.stream.client.acknowledged < before + 20 and time.monotonic() < until_s:
            for body in _BOMBS:
                headers = {"content-type": "application/json"}
                answers.append(http.post("/jobs", content=body, headers=headers))
    told = [(answer.status_code, answer.json()["type"]) for answer in answers]
    assert all(400 <= status < 500 for status, _ in told), told
    kinds = {type.rpartition("/")[2] for _, type in told}
    fired({"malformed-json", "payload-too-large"} <= kinds, f"only {kinds}")
    others = on.stream.client.acknowledged - before
    fired(others >= 20, f"only {others} others were accepted meanwhile")


def _submitted_during(on: Installation, seconds: float) -> int:
    """Jobs accepted while so many seconds pass."""
    before = on.stream.client.acknowledged
    time.sleep(seconds)
    return on.stream.client.acknowledged - before


def faults(*, long: bool = False) -> list[Fault]:
    """All of them; in the long form those that last do so for longer."""
    gateway, processors = ["gateway"], list(PROCESSORS)
    seconds = 30.0 if long else 6.0
    return [
        Fault("F1", "gateway dies before the commit", dies_at(gateway, "gateway.before_commit")),
        Fault("F2", "gateway dies after the commit", dies_at(gateway, "gateway.after_commit")),
        Fault("F3", "gateway dies between log and queue", dies_at(gateway, "dispatch.before_work")),
        Fault("F3", "gateway dies after publishing", dies_at(gateway, "dispatch.after_publish")),
        Fault("F4", "gateway dies before the answer", dies_at(gateway, "gateway.before_response")),
        Fault("F5", "commits are cut off", commits_are_cut_off, 2),
        Fault("F6", "processor is killed", processor_is_killed, 1),
        *(
            Fault("F6", f"processor dies {place}", dies_at(processors, f"processor.{point}"), 2)
            for place, point in (
                ("before claiming", "before_claim"),
                ("after claiming", "after_claim"),
                ("before recording outcomes", "before_finish"),
                ("after recording outcomes", "after_finish"),
            )
        ),
        Fault("F7", "processor dies before publishing", dies_at(processors, "dispatch.before_publish"), 2),
        Fault("F7", "relay dies before publishing", relay_dies("relay.before_publish"), 2),
        Fault("F7", "relay dies after publishing", relay_dies("relay.after_publish"), 2),
        Fault("F8", "engine dies before applying", dies_at(["metrics-engine"], "engine.before_apply")),
        Fault("F8", "engine dies after applying", dies_at(["metrics-engine"], "engine.after_apply")),
        Fault("F9", "promoter dies before promoting", dies_at(processors, "maintenance.before_promote"), 2),
        Fault("F9", "promoter dies after promoting", dies_at(processors, "maintenance.after_promote"), 2),
        Fault("F10", "processor is frozen", processor_is_frozen, 1),
        Fault("F11", "broker restarts", broker_restarts),
        Fault("F11", "broker is killed", broker_is_killed),
        Fault("F11", "broker drops everybody", broker_drops_everybody),
        Fault("F12", "broker has no memory", broker_has_no_memory),
        Fault("F13", "work queues are emptied", work_queues_are_emptied),
        Fault("F13", "work queues are deleted", work_queues_are_deleted),
        Fault("F13", "event log is deleted", log_is_deleted, log_kept=False),
        Fault("F14", "PostgreSQL is killed", postgres_is_killed, 2),
        Fault("F14", "PostgreSQL away for less than a lease", postgres_is_away(8.0), lease_s=15.0),
        Fault("F16", "PostgreSQL is slow", postgres_is_slow),
        Fault("F17", "Redis is killed", redis_is_killed),
        Fault("F17", "Redis is emptied", redis_is_emptied),
        Fault("F18", "processor cut off from PostgreSQL", held(["processor-1"], STORE, 2 * LEASE_S), 2),
        Fault("F18", "processor cut off from the broker", held(["processor-1"], SPINE, seconds), 1),
        Fault("F18", "gateways cut off from the broker", held(GATEWAYS, SPINE, seconds)),
        Fault("F18", "engine cut off from Redis", held(["metrics-engine"], AGGREGATES, seconds)),
        Fault("F19", "every line slow and shaky", shaky(seconds), 4),
        Fault("F21", "processors restart in turn", rolling_restart),
        Fault("F28", "one key a hundred times at once", one_key_at_once, 2),
        Fault("F31", "payload bombs", payload_bombs),
        Fault("F34", "everything is killed over a backlog", everything_is_killed, 2),
    ]  # fmt: skip


def named(*names: str) -> list[Fault]:
    """These faults, in this order."""
    found = {fault.name: fault for fault in faults()}
    return [found[name] for name in names]
