"""What `observatory doctor` asks a system that runs: readiness, backends, age of the numbers."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.diagnosis import Finding, clocks
from observatory.interfaces.cli.output import behind

if TYPE_CHECKING:
    from observatory.client import Client, ObservatoryError

LONGEST_LAG_S: Final = 10.0
"""A metrics engine that is further behind shows old numbers; a canary comes every few seconds."""

_READY_WITHIN_S: Final = 5.0
"""Each check of its readiness has three seconds, and all are made at once."""


class Running(NamedTuple):
    """What was found at an address."""

    answers: bool
    """Whether a system does."""
    findings: list[Finding]
    on_servers: bool = False
    """Its record is kept by a server, and in no file."""


def running_system(address: Address) -> Running:
    """A system that runs, and what it says of itself."""
    from observatory.client import ObservatoryError

    with address.client(patience=0.0) as client:
        answers, ready = _readiness(client, address.named)
        findings = [ready]
        told: dict[str, Any] = {}
        if ready.verdict == "PASS":
            try:
                findings.append(_gateway(client))
                findings.append(_numbers(client))
                told, clock = _system(client)
                for one in _health(client, told, clock):
                    findings.append(one)  # noqa: PERF402 - those before an error stay
            except ObservatoryError as error:
                findings.append(Finding("FAIL", "views", str(error), _advice(error)))
    kept_by = next(
        (one["detail"] for one in told.get("backends", ()) if one["name"] == "store" and one["ok"]),
        "",
    )
    return Running(answers, findings, bool(kept_by) and not kept_by.startswith("sqlite"))


def _readiness(client: "Client", named: str) -> tuple[bool, Finding]:
    """Whether a system answers, and whether it is ready; `named` is what names its address."""
    import httpx

    from observatory.client import Refused, Unreachable
    from observatory.client.operations import Operations

    try:
        client.run(Operations(0.0, _READY_WITHIN_S).read("/readyz"))
    except Unreachable as error:
        why = error.__cause__
        if isinstance(why, httpx.TimeoutException) and not isinstance(why, httpx.ConnectTimeout):
            what = (
                f"{client.url} takes connections and does not answer within {_READY_WITHIN_S:g} s"
            )
            advice = "it hangs, or what it stands behind does: see what it prints, and restart it"
            return False, Finding("FAIL", "system", what, advice)
        another = not isinstance(why, httpx.TransportError)
        if named:
            # Somebody counts on it to be there.
            reason = str(why) or type(why).__name__
            what = str(error) if another else f"{client.url} does not answer: {reason}"
            advice = f"start it with `observatory up`, or correct {named}"
            return False, Finding("FAIL", "system", what, advice)
        what = "none is running at this address" + (f": {error}" if another else "")
        advice = "start it with `observatory up`, or name its address with --url"
        return False, Finding("WARN", "system", what, advice)
    except Refused as error:
        advice = "see what the server prints; GET /readyz names each check"
        return True, Finding("FAIL", "system", f"runs and is not ready: {error}", advice)
    return True, Finding("PASS", "system", "runs and is ready")


def _gateway(client: "Client") -> Finding:
    """Whether jobs are taken here: what is asked for is refused, and changes nothing."""
    from observatory.client import NotFound, Refused, Unavailable, Unreachable
    from observatory.client.requests import Request

    headers = {"content-type": "application/json"}
    request = Request(
        "POST", "/jobs", headers=headers, content=b"{}", timeout_s=_READY_WITHIN_S, repeatable=False
    )
    try:
        client.run(client.operations.exchange(request))
    except NotFound:
        return Finding("WARN", "gateway", "none is at this address", "name the edge's with --url")
    except Unavailable as error:
        return Finding("FAIL", "gateway", f"takes no jobs: {error}", _advice(error))
    except Unreachable as error:
        if error.by_another:
            words, advice = "none is at this address", "name the edge's with --url"
            return Finding("WARN", "gateway", words, advice)
        advice = "docs/runbooks/ObservatoryServiceDown.md"
        return Finding("FAIL", "gateway", "does not answer: no job is taken", advice)
    except Refused:
        pass
    return Finding("PASS", "gateway", "answers")


def _numbers(client: "Client") -> Finding:
    from observatory.client import Unavailable

    try:
        return numbers(client.stats())
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


def numbers(told: dict[str, Any]) -> Finding:
    """Whether the numbers are complete, and how old they are: `told` is the answer of `/stats`."""
    from observatory.core.alert import PROJECTION_LAGGING

    lag_s = float(told["lagSeconds"])
    runbooks = "docs/runbooks/ObservatoryNumbersMissing.md and ObservatoryProjectionLagging.md"
    if told["rebuilding"]:
        words = "not complete: they are to be counted anew"
        advice = f"wait until they are; if that does not end, no metrics engine runs: {runbooks}"
        return Finding("FAIL", "numbers", words, advice)
    if not told["complete"]:
        advice = "bring back the backend that does not answer"
        return Finding("FAIL", "numbers", behind(told), advice)
    text = behind(told)
    if lag_s > LONGEST_LAG_S:
        verdict = "FAIL" if lag_s > PROJECTION_LAGGING.limit else "WARN"
        advice = f"no metrics engine runs, or it does not keep up: {runbooks}"
        return Finding(verdict, "numbers", text, advice)
    return Finding("PASS", "numbers", text)


def _system(client: "Client") -> tuple[dict[str, Any], Finding]:
    """What the system tells of itself, and its clock against this machine's."""
    before = time.time()
    told = client.read("/system")
    after = time.time()
    as_of = datetime.fromisoformat(told["asOf"]).timestamp()
    return told, clocks("clock", as_of - (before + after) / 2, after - before)


def _health(client: "Client", told: dict[str, Any], clock: Finding) -> Iterator[Finding]:
    away = [one for one in told["backends"] if not one["ok"]]
    if away:
        words = "; ".join(f"{one['name']}: {one['detail']}" for one in away)
        advice = "start what is away, or correct its URL where the system runs"
        yield Finding("FAIL", "backends", words, advice)
    else:
        names = ", ".join(one["name"] for one in told["backends"])
        yield Finding("PASS", "backends", f"{names} answer")
    yield clock
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
