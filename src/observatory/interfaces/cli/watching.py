"""`observatory failures`, `workers` and `alerts`: what the views of the page show, as tables."""

from datetime import datetime
from typing import Any, Final

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import (
    TABLE,
    Output,
    at_least_one,
    first_line,
    print_table,
    say,
    seconds,
    standing,
)

_WATCHDOG: Final = "ObservatoryWatchdog"
"""Fires always; that it does is nothing to be told."""


def failures(
    *,
    type: str | None = None,
    queue: str | None = None,
    limit: int = 20,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """List what fails, grouped by error: how many, since when, and whether it grows.

    For example:
      observatory failures
      observatory jobs retry-all --fingerprint 9f2c1a7be0d34455

    Args:
        type: Only this job type.
        queue: Only this queue.
        limit: How many groups at most, from 1 to 200.
    """
    asked = {"type": type, "queue": queue, "limit": str(at_least_one(limit))}
    params = {name: value for name, value in asked.items() if value}
    with (address or Address()).client() as client:
        answer = client.read("/failures", params)
    if output.structured:
        output.print(answer)
    elif not answer["items"]:
        say("nothing fails")
    else:
        now = datetime.fromisoformat(answer["asOf"])
        rows = [
            (
                group["fingerprint"],
                group["type"],
                group["states"]["failed"],
                group["states"]["retrying"],
                _trend(group["recent"]),
                _age(group["lastSeenAt"], now),
                first_line(f"{group['errorType']}: {group['message']}"),
            )
            for group in answer["items"]
        ]
        numbers = ("FAILED", "RETRYING", "LAST HOUR", "LAST")
        print_table(
            ("FINGERPRINT", "TYPE", "FAILED", "RETRYING", "LAST HOUR", "LAST", "ERROR"),
            rows,
            numbers=numbers,
            gives_way="ERROR",
            spare=("RETRYING", "LAST HOUR"),
        )
    return ExitCode.OK


def _trend(recent: dict[str, int]) -> str:
    last, before = recent["lastHour"], recent["hourBefore"]
    return f"{last} {'more' if last > before else 'fewer' if last < before else 'same'}"


def workers(*, address: Address | None = None, output: Output = TABLE) -> int:
    """List workers: what they do, what they take, and when they were last seen.

    For example:
      observatory workers
    """
    with (address or Address()).client() as client:
        answer = client.read("/workers")
    if output.structured:
        output.print(answer)
    elif not answer["items"]:
        say("no worker has been seen within a day; start one: observatory up MODULE")
    else:
        now = datetime.fromisoformat(answer["asOf"])
        rows = [
            (
                f"{worker['host']}:{worker['pid']}",
                standing(worker),
                f"{worker['running']} of {worker['concurrency']}",
                ", ".join(worker["queues"]) or "every queue",
                _age(worker["startedAt"], now),
                _age(worker["lastSeenAt"], now),
            )
            for worker in answer["items"]
        ]
        headings = ("WORKER", "STATE", "BUSY", "QUEUES", "STARTED", "SEEN")
        print_table(headings, rows, numbers=("BUSY", "STARTED", "SEEN"))
    return ExitCode.OK


def alerts(*, address: Address | None = None, output: Output = TABLE) -> int:
    """List alerts that fire, the worst first, and who knows of them.

    For example:
      observatory alerts
    """
    with (address or Address()).client() as client:
        answer = client.read("/alerts")
    if output.structured:
        output.print(answer)
        return ExitCode.OK
    firing = [one for one in answer["items"] if one["name"] != _WATCHDOG]
    age_s = answer["ageSeconds"]
    count = answer.get("silenced", 0)
    silenced = f"{count} {'is' if count == 1 else 'are'} silenced" if count else ""
    if answer["source"] == "none":
        say("nobody here knows of alerts: set OBSERVATORY_ALERTMANAGER_URL at the read model")
    elif not firing:
        say(f"no alert fires; {silenced}" if silenced else "no alert fires")
    else:
        now = datetime.fromisoformat(answer["asOf"])
        rows = [
            (one["severity"], one["name"], _age(one["since"], now), one["summary"], one["runbook"])
            for one in firing
        ]
        print_table(
            ("SEVERITY", "ALERT", "SINCE", "WHAT", "RUNBOOK"),
            rows,
            numbers=("SINCE",),
            gives_way="WHAT",
            spare=("RUNBOOK",),
        )
        if silenced:
            say(f"beside these {silenced}")
    if age_s is not None:
        say(f"known by {answer['source']}, {_whole(age_s)} ago")
    if answer["detail"]:
        say(f"alerts may be missing: {answer['detail']}")
    return ExitCode.OK


def _age(text: str, now: datetime) -> str:
    then: Any = datetime.fromisoformat(text)
    return _whole((now - then).total_seconds())


def _whole(age_s: float) -> str:
    """An age, which is not known to a part of a second."""
    age = max(0, round(age_s))
    return f"{age} s" if age < 120 else seconds(age)
