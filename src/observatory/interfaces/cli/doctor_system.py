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
