"""`observatory bench`: loads a deployment and tells what it did."""

import asyncio
import math
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address, Payload
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Mistake, Output, print_table, say, seconds

if TYPE_CHECKING:
    from observatory.interfaces.cli.bench_load import Measured, Plan

CONNECTIONS_MAX = 100
JOBS_MAX = 1_000_000
"""A time is kept of each."""


def bench(
    *,
    type: str,
    payload: Payload = "{}",
    rate: float | None = None,
    seconds: float | None = None,
    jobs: int | None = None,
    batch: int = 1,
    connections: int = 16,
    end: Annotated[bool, Parameter(negative="--no-end")] = True,
    timeout: float = 60.0,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Load a running system and tell throughput and latencies.

    With --rate requests are sent when they are due, however late the answers to
    earlier ones are, and times run from when a request was due: a stall counts for
    every request that it delays, not for one (it is free of coordinated omission).
    Without it each connection sends as soon as it is answered, and times run from
    the sending.

    It submits jobs of a type that must be safe to run. Percentiles are exact. Times
    to the end of jobs are those at which the event stream told it here. Exit code 1
    if anything was refused or has not ended.

    For example:
      observatory bench --type double --payload '{"n": 2}' --rate 200
      observatory bench --type email.check --jobs 20000 --batch 100 --json

    Args:
        type: Which job type to submit.
        payload: Its payload, as JSON object or - for standard input.
        rate: Jobs a second; as many as it takes if left out.
        seconds: How long; 10 if neither this nor --jobs is given.
        jobs: How many at most, up to 1000000.
        batch: Jobs in one request, from 1 to 500.
        connections: Requests under way at once at most, from 1 to 100.
        end: Follow each job to its end by the event stream.
        timeout: Seconds to wait for the ends, once all are submitted.
    """
    from observatory.client import Refused, Unreachable
    from observatory.interfaces.cli.bench_load import Measured, Plan, measure
    from observatory.interfaces.cli.submit import read_payload

    _check(rate, seconds, jobs, batch, connections, timeout)
    for_s = 10.0 if seconds is None and jobs is None else seconds
    plan = Plan(
        type, read_payload(payload, ()), rate, for_s, jobs, batch, connections, end, timeout
    )
    measured = Measured()
    where = address or Address()
    with where.client() as client:
        # Whatever is wrong with type, payload or key is told by this one, and as any submit would.
        try:
            client.submit(type, plan.payload)
        except (Refused, Unreachable) as error:
            error.idempotency_key = None  # a load is not submitted again under a key
            raise
    try:
        asyncio.run(measure(where.url, where.key, plan, measured))
    finally:
        # Also of what was cut off.
        if measured.requests:
            _report(plan, measured, output)
    return ExitCode.OK if measured.sound else ExitCode.FAILED


def _check(
    rate: float | None,
    duration: float | None,
    jobs: int | None,
    batch: int,
    connections: int,
    timeout: float,
) -> None:
    for name, number in (("--rate", rate), ("--seconds", duration), ("--timeout", timeout)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise Mistake(f"{name} is a number above 0, not {number:g}")
    for name, count, most in (
        ("--jobs", jobs, JOBS_MAX),
        ("--batch", batch, 500),
        ("--connections", connections, CONNECTIONS_MAX),
    ):
        if count is not None and not 1 <= count <= most:
            raise Mistake(f"{name} is a number from 1 to {most}, not {count}")
    if jobs is None and rate is not None and rate * (duration or 10.0) > JOBS_MAX:
        raise Mistake(f"that would be more than {JOBS_MAX} jobs; lower --rate or --seconds")


def _report(plan: "Plan", measured: "Measured", output: Output) -> None:
    if output.structured:
        output.print(measured.document(plan))
        return
    how = "flat out" if plan.rate is None else f"{plan.rate:g} jobs/s, open loop"
    say(
        f"{plan.type}, {how}, {plan.batch} a request, {plan.connections} connections, "
        f"{measured.took_s:.1f} s\n"
    )
    for name, value in _counts(measured):
        say(f"{name:<12} {value}")
    since = "sending" if plan.rate is None else "when due"
    rows = [_row(f"submit, from {since}", measured.submit_s.spread())]
    if plan.end:
        rows.append(_row(f"end, from {since}", measured.end_s.spread()))
    headings = ("", "P50", "P90", "P99", "MAX")
    say()
    print_table(headings, rows, numbers=headings[1:])
    for title, times in (("submit", measured.submit_s), ("end", measured.end_s)):
        if times.values:
            say(f"\n{title}")
            for line in times.drawn():
                say(line)
    if measured.late_s > 0.1 and plan.rate is not None:
        say(
            f"\nrequests were sent up to {_time(measured.late_s)} after they were due: every "
            "connection was waiting for an answer, or this machine was busy. It is in the times."
        )
    if measured.lost:
        say(f"\nthe ends are not all known: {measured.lost}")


def _counts(measured: "Measured") -> list[tuple[str, str]]:
    counts = [("accepted", f"{measured.accepted:,} jobs, {measured.accepted_per_s:,.1f}/s")]
    if measured.ended:
        states = ", ".join(f"{n:,} {state}" for state, n in sorted(measured.states.items()))
        counts.append(("ended", f"{states}, {measured.finished_per_s:,.1f}/s"))
    for reason, count in measured.errors.most_common():
        counts.append(("errors", f"{count:,} requests: {reason}"))
    return counts


def _row(name: str, spread: dict[str, float] | None) -> tuple[Any, ...]:
    return (name, *(_time(one) for one in spread.values())) if spread else (name, *"----")


def _time(value: float) -> str:
    return seconds(value)
