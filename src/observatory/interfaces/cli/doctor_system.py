"""What `observatory doctor` asks a system that runs: readiness, backends, age of the numbers."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.diagnosis import Finding, clocks

if TYPE_CHECKING:
    from observatory.client import Client, ObservatoryError

LONGEST_LAG_S: Final = 10.0
"""A metrics engine that is further behind shows old numbers; a canary comes every few seconds."""


def running_system(address: Address) -> Iterator[Finding]:
    """A system that runs, and what it says of itself; a WARN alone if none does."""
    import httpx

    from observatory.client import ObservatoryError, Refused, Unreachable

    with address.client(patience=0.0) as client:
        try:
            client.read("/readyz")
        except Unreachable as error:
            advice = "start it with `observatory up`, or name its address with --url"
            what = "none is running at this address"
            if not isinstance(error.__cause__, httpx.TransportError):
                what = f"{what}: {error}"  # another program does
            yield Finding("WARN", "system", what, advice)
            return
        except Refused as error:
            advice = "see what the server prints; GET /readyz names each check"
            yield Finding("FAIL", "system", f"runs and is not ready: {error}", advice)
            return
        yield Finding("PASS", "system", "runs and is ready")
        try:
            yield _numbers(client)
            yield from _health(client)
        except ObservatoryError as error:
            yield Finding("FAIL", "views", str(error), _advice(error))


def _numbers(client: "Client") -> Finding:
    from observatory.client import Unavailable

    try:
        return _lag(float(client.stats()["lagSeconds"]))
    except Unavailable as error:
        # What they are kept in is away; the system can be asked for all else.
        return Finding("FAIL", "numbers", str(error), _advice(error))


def _advice(error: "ObservatoryError") -> str:
    from observatory.client import NotFound, Refused, Unavailable

    if isinstance(error, NotFound):
        return "name the address of a read model, or of the edge before it, with --url"
    if isinstance(error, Unavailable):
        return "bring back what it does not reach; docs/reference/problems.md tells of the problem"
    if isinstance(error, Refused) and error.status in (401, 403):
        return "give a key with the scope read: --key"
    return "see what the server prints"


def _lag(lag_s: float) -> Finding:
    text = f"{lag_s:.1f} s behind the event log"
    if lag_s > LONGEST_LAG_S:
        return Finding("WARN", "numbers", text, "the metrics engine does not keep up or stands")
    return Finding("PASS", "numbers", text)


def _health(client: "Client") -> Iterator[Finding]:
    before = time.time()
    told = client.read("/system")
    after = time.time()
    away = [one for one in told["backends"] if not one["ok"]]
    if away:
        words = "; ".join(f"{one['name']}: {one['detail']}" for one in away)
        advice = "start what is away, or correct its URL where the system runs"
        yield Finding("FAIL", "backends", words, advice)
    else:
        names = ", ".join(one["name"] for one in told["backends"])
        yield Finding("PASS", "backends", f"{names} answer")
    as_of = datetime.fromisoformat(told["asOf"]).timestamp()
    yield clocks("clock", as_of - (before + after) / 2, after - before)
    yield from _left_over(told)
    yield alerts(client.read("/alerts"))
    yield _workers(client)
    yield _heartbeat(client, told)


def alerts(told: dict[str, Any]) -> Finding:
    """Whether an alert is critical, and whether one that is not told of may be."""
    critical = sorted({one["name"] for one in told["items"] if one["severity"] == "critical"})
    if critical:
        advice = "`observatory alerts` names the runbook of each"
        return Finding("WARN", "alerts", ", ".join(critical), advice)
    if told["detail"]:
        advice = "see docs/guide/monitoring.md; until then nobody may be told of a fault"
        return Finding("WARN", "alerts", f"may be missing: {told['detail']}", advice)
    return Finding("PASS", "alerts", "none critical")


def _left_over(told: dict[str, Any]) -> Iterator[Finding]:
    if told["deadLetters"]:
        words = f"{told['deadLetters']:,} work messages that nobody can read"
        advice = "docs/runbooks/ObservatoryDeadLettersGrowing.md says how to look at them"
        yield Finding("WARN", "dead letters", words, advice)
    outbox: dict[str, Any] | None = told["outbox"]
    if outbox and outbox["oldestAt"]:
        as_of = datetime.fromisoformat(told["asOf"])
        age_s = (as_of - datetime.fromisoformat(outbox["oldestAt"])).total_seconds()
        if age_s > LONGEST_LAG_S:
            words = f"{outbox['commits']:,} commits are not published, the oldest for {age_s:.0f} s"
            advice = "docs/runbooks/ObservatoryOutboxStuck.md; most often the spine is away"
            yield Finding("WARN", "outbox", words, advice)


def _workers(client: "Client") -> Finding:
    workers = client.read("/workers")["items"]
    active = [one for one in workers if one["state"] == "active"]
    if not active:
        waits = client.read("/jobs", {"state": "queued", "limit": "1"})["items"]
        words = "none is at work" + (", and jobs wait" if waits else "")
        advice = "start a processor; docs/runbooks/ObservatoryNoProcessors.md"
        return Finding("FAIL" if waits else "WARN", "workers", words, advice)
    busy, slots = (sum(one[name] for one in active) for name in ("running", "concurrency"))
    return Finding("PASS", "workers", f"{len(active)} at work, {busy} of {slots} slots in use")


def _heartbeat(client: "Client", told: dict[str, Any]) -> Finding:
    from observatory.client import Unavailable
    from observatory.core.canary import HEARTBEAT_JOB
    from observatory.core.job_type import DEFAULT_QUEUE

    newest = {"type": HEARTBEAT_JOB, "limit": "200"}
    jobs: list[dict[str, Any]] = []
    if told["heartbeat"]:
        jobs = client.read("/jobs", newest)["items"]
    queues: list[dict[str, Any]] = []
    try:
        queues = client.read("/queues")["items"]
    except Unavailable:
        pass  # it counts by the aggregates, which are told as away
    paused = {one["name"] for one in queues if one["paused"]}
    return heartbeat(told, jobs, DEFAULT_QUEUE in paused)


def heartbeat(told: dict[str, Any], jobs: list[dict[str, Any]], paused: bool) -> Finding:
    """Whether heartbeat jobs are accepted and come through.

    Args:
        told: the answer of ``GET /system``.
        jobs: the newest heartbeat jobs.
        paused: whether their queue is, so that none can come through.
    """
    from observatory.core.alert import HEARTBEAT_STALLED

    as_of = datetime.fromisoformat(told["asOf"])

    def ago_s(time: str) -> float:
        return (as_of - datetime.fromisoformat(time)).total_seconds()

    every_s: float = told.get("heartbeatIntervalSeconds", 0)
    limit_s = max(HEARTBEAT_STALLED.limit, 3 * every_s)
    last: dict[str, Any] | None = told["heartbeat"]
    accepted = last is not None and ago_s(last["acceptedAt"]) <= limit_s
    if not every_s and not accepted:
        return Finding("PASS", "heartbeat job", "off; OBSERVATORY_CANARY_SECONDS turns it on")
    runbook = "docs/runbooks/ObservatoryHeartbeatStalled.md"
    through: str | None = last["lastCompletedAt"] if last else None
    # Those that came after the last that came through: it may have been long ago for no worse
    # reason than that the whole system was off until a moment ago.
    waiting = [ago_s(one["createdAt"]) for one in jobs if not through or one["createdAt"] > through]
    if waiting and max(waiting) > limit_s and not paused:
        words = f"none has come through of those of the last {max(waiting):.0f} s"
        verdict = "FAIL" if accepted else "WARN"
        return Finding(verdict, "heartbeat job", words, runbook)
    if not accepted:
        words = f"one is due every {every_s:g} s, and none was accepted lately"
        return Finding("WARN", "heartbeat job", words, f"see that a gateway runs; {runbook}")
    if paused:
        return Finding("PASS", "heartbeat job", "accepted; their queue is paused")
    words = f"one came through {ago_s(through):.0f} s ago" if through else "the first is on its way"
    return Finding("PASS", "heartbeat job", words)
