"""`observatory jobs`: list, show, cancel and retry; `bulk.py`, `tail.py` and `export.py` have the
commands for many jobs."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from observatory.interfaces.cli.address import Address, Payload
from observatory.interfaces.cli.bulk import cancel_all, retry_all
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.export import export
from observatory.interfaces.cli.job_filter import Filter
from observatory.interfaces.cli.output import (
    TABLE,
    Mistake,
    Output,
    at_least_one,
    attempt_in_column,
    attempt_of,
    clock,
    first_line,
    print_table,
    ran,
    safe,
    say,
    seconds,
)
from observatory.interfaces.cli.tail import tail

if TYPE_CHECKING:
    from datetime import datetime

    from observatory.client import Client, Job


jobs = App(
    name="jobs",
    help="""List, show, follow, export, cancel or retry jobs, and read their logs.

For example:
  observatory jobs list --state failed
  observatory jobs retry-all --type email.send --dry-run""",
    help_format="plaintext",
)


jobs.command(retry_all, name="retry-all")
jobs.command(cancel_all, name="cancel-all")
jobs.command(tail)
jobs.command(export)


@jobs.command(name="list")
def list_jobs(
    *,
    which: Filter | None = None,
    limit: int = 20,
    cursor: str | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """List jobs, newest first.

    For example:
      observatory jobs list --state failed --type email.send
      observatory jobs list --limit 500 --json

    With --json `next` is the cursor of what follows; null where the list is whole.

    Args:
        limit: How many at most, from 1 up.
        cursor: Go on where a list with the same filters was cut.
    """
    from observatory.client.operations import job_params
    from observatory.interfaces.cli.listing import Listing

    at_least_one(limit)
    filters: Any = (which or Filter()).given()
    with (address or Address()).client() as client:
        params = job_params(limit, filters)
        listing = Listing(client, "/jobs", params, limit=limit, cursor=cursor)
        found = list(listing)
    if output.structured:
        output.print({"items": found, "next": listing.next})
    else:
        _print_list(found)
        listing.tell_of_more()
    return ExitCode.OK


def _print_list(found: list[dict[str, Any]]) -> None:
    if not found:
        say("no such jobs")
        return
    rows = [
        (
            job["id"],
            job["type"],
            job["state"],
            attempt_in_column(job["attempt"], job["maxAttempts"]),
            job["queue"],
            clock(_time(job["createdAt"])),
            _error_line(job["error"]),
        )
        for job in found
    ]
    print_table(
        ("ID", "TYPE", "STATE", "ATTEMPT", "QUEUE", "CREATED", "ERROR"),
        rows,
        gives_way="ERROR",
        spare=("CREATED", "ATTEMPT", "QUEUE"),
    )


def _error_line(error: dict[str, Any] | None) -> str:
    return first_line(f"{error['type']}: {error['message']}") if error else ""


def _time(text: str | None) -> "datetime | None":
    from datetime import datetime

    return datetime.fromisoformat(text) if text else None


@jobs.command
def show(
    job_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Show one job: state, times, payload, result or error, attempts.

    For example:
      observatory jobs show 0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10

    Args:
        job_id: The job's id.
    """
    with (address or Address()).client() as client:
        print_job(client, client.job(job_id).job, output=output)
    return ExitCode.OK


@jobs.command
def logs(
    job_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    last: int | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Print the lines that a job's handler wrote, oldest first.

    For example:
      observatory jobs logs 0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10
      observatory jobs logs 0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10 --last 50

    Args:
        job_id: The job's id.
        limit: How many at most, from 1 up; all of them if left out.
        cursor: Go on where an earlier list was cut.
        last: Only so many of the newest ones.
    """
    from observatory.client.operations import job_path
    from observatory.interfaces.cli.listing import Listing

    path = f"{job_path(job_id)}/logs"
    if last is not None and not (limit is None and cursor is None):
        raise Mistake("--last is of the end of all lines: give neither --limit nor --cursor")
    count = None if limit is None else at_least_one(limit)
    with (address or Address()).client() as client:
        lines = Listing(client, path, {}, limit=count, cursor=cursor)
        shown: Iterable[dict[str, Any]] = lines
        if last is not None:
            newest = Listing(client, path, {"order": "newest"}, limit=at_least_one(last, "--last"))
            shown = reversed(list(newest))
        if output.structured:
            found: dict[str, Any] = {"items": list(shown)}
            # The last ones end the list; what comes before them has no cursor.
            output.print(found if last is not None else found | {"next": lines.next})
            return ExitCode.OK
        for line in shown:
            fields = " ".join(f"{name}={value}" for name, value in line["fields"].items())
            words = (line["at"], f"#{line['attempt']}", f"{line['level']:<7}", line["message"])
            text = " ".join(filter(None, (*words, fields)))
            # What goes on in a text is marked, so that it looks like no line of its own, even to
            # what strips blanks.
            say(text.replace("\n", "\n    | "))
        lines.tell_of_more()
    return ExitCode.OK


@jobs.command
def cancel(
    job_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    reason: str | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Cancel a job. A running one is asked to stop, which may take a moment.

    For example:
      observatory jobs cancel 0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10 --reason typo

    Args:
        job_id: The job's id.
        reason: Kept with the job.
    """
    with (address or Address()).client() as client:
        answer = client.cancel(job_id, reason=reason)
    if output.structured:
        output.print(answer)
    elif answer["state"] == "cancelled":
        say(f"{job_id} is cancelled")
    else:
        say(f"{job_id} is {answer['state']}; it was asked to stop")
    return ExitCode.OK


@jobs.command
def retry(
    job_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    payload: Payload | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Run a job again that has ended, or now one that waits for its next attempt.

    For example:
      observatory jobs retry 0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10
      observatory jobs retry "$ID" --payload '{"n": 3}'

    Args:
        job_id: The job's id.
        payload: Another payload, as JSON object or - for standard input; makes a new job.
    """
    from observatory.interfaces.cli.submit import read_payload

    edited = None if payload is None else read_payload(payload, ())
    with (address or Address()).client() as client:
        handle = client.retry(job_id, payload=edited)
    if output.structured:
        output.print({"jobId": handle.id})
    elif edited is None:
        say(f"{handle.id} is queued again")
    else:
        say(f"{handle.id} is queued: a new job, made from {job_id}")
    return ExitCode.OK


def print_job(client: "Client", job: "Job", *, output: Output) -> None:
    """Print all that is known of a job."""
    if output.structured:
        output.print(client.read(f"/jobs/{job.id}"))
        return
    print_facts(job)
    attempts = client.read(f"/jobs/{job.id}/attempts")["items"]
    if attempts:
        say()
        _print_attempts(attempts, job.timeout_seconds)
    if job.error:
        say(f"\n{job.error.traceback or f'{job.error.type}: {job.error.message}'}")
    if client.read(f"/jobs/{job.id}/logs", {"limit": "1"})["items"]:
        say(f"\nIt wrote log lines: observatory jobs logs {job.id}")


def print_facts(job: "Job") -> None:
    """Print where a job stands, what went in and what came out."""
    facts: list[tuple[str, object]] = [
        ("id", job.id),
        ("type", job.type),
        ("state", job.state),
        ("queue", f"{job.queue} ({job.priority})"),
        ("attempt", attempt_of(job.attempt, job.max_attempts)),
        ("waits", _suspect(job)),
        ("created", clock(job.created_at)),
        ("scheduled", clock(job.scheduled_at) if job.scheduled_at else None),
        ("started", clock(job.started_at)),
        ("finished", clock(job.finished_at)),
        ("progress", _progress(job)),
        ("cancelled", _cancelled(job)),
        ("worker", job.worker),
        ("correlation", job.correlation_id),
        ("trace", job.trace_id),
        ("parent", job.parent_id),
        ("payload", _document(job.payload)),
        ("result", _document(job.result) if job.state == "completed" else None),
    ]
    for name, value in facts:
        if value is not None:
            say(f"{name:<12} {safe(value)}")


def _document(value: object) -> str:
    """JSON as people read it; a terminal that cannot show a character is shown its code."""
    import json

    return json.dumps(value, ensure_ascii=False)


def _progress(job: "Job") -> str | None:
    """The last progress that the handler reported."""
    if job.progress is None:
        return None
    fraction, message = job.progress["fraction"], job.progress["message"]
    return " ".join(
        text for text in (None if fraction is None else f"{fraction:.0%}", message) if text
    )


def _cancelled(job: "Job") -> str | None:
    """What is known of a cancelling that was asked for."""
    if job.state == "cancelled":
        return job.cancel_reason or "without a reason"
    if job.cancel_requested_at is None:
        return None
    reason = f": {job.cancel_reason}" if job.cancel_reason else ""
    return f"asked for at {clock(job.cancel_requested_at)}{reason}"


def _suspect(job: "Job") -> str | None:
    """Why a queued job waits that the others overtake, if it is one."""
    from observatory.core.lifecycle import SUSPECT_CRASHES

    if job.state != "queued" or job.crashes < SUSPECT_CRASHES:
        return None
    return f"its worker ended {job.crashes} times while running it: such jobs run one at a time"


_OVER_TIME_S = 0.5
"""A run may end so much past its timeout without the timeout having failed to end it."""


def outcome_of(attempt: dict[str, Any], timeout_s: float | None) -> str:
    """How an attempt ended, and whether its timeout did not bite."""
    outcome, ran_s = attempt["outcome"] or "running", attempt["runSeconds"]
    over = timeout_s is not None and ran_s is not None and ran_s >= timeout_s + _OVER_TIME_S
    return (
        f"{outcome}, past its timeout of {timeout_s:g} s" if over and outcome in _ENDED else outcome
    )


_ENDED = ("completed", "failed")
"""Outcomes of handlers that ended by themselves; what was cut off ends a little later, too."""


def _print_attempts(attempts: list[dict[str, Any]], timeout_s: float | None) -> None:
    rows = [
        (
            one["attempt"],
            outcome_of(one, timeout_s),
            seconds(one["waitSeconds"]),
            ran(one),
            one["worker"],
            _error_line(one["error"]),
        )
        for one in attempts
    ]
    numbers = ("ATTEMPT", "WAITED", "RAN")
    headings = ("ATTEMPT", "OUTCOME", "WAITED", "RAN", "WORKER", "ERROR")
    print_table(headings, rows, numbers=numbers, gives_way="ERROR", spare=("WORKER",))
