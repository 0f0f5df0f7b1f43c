"""`observatory jobs tail`: jobs as they change their state."""

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.events import tell_of_trying
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.job_filter import State
from observatory.interfaces.cli.output import TABLE, Output, at_least_one, say

if TYPE_CHECKING:
    from observatory.client import EventRecord

_PATIENCE_S: Final = 30.0
"""Whoever follows wants to go on over a restart of the server."""

_EVENTS: Final[dict[State, tuple[str, ...]]] = {
    "scheduled": ("job.created",),
    "queued": ("job.created", "job.queued"),
    "running": ("job.started",),
    "retrying": ("job.retrying",),
    "completed": ("job.completed",),
    "failed": ("job.failed",),
    "cancelled": ("job.cancelled",),
}
"""Which events tell that a job has come into a state."""


def tail(
    *,
    state: Annotated[list[State] | None, Parameter(negative="")] = None,
    type: str | None = None,
    queue: str | None = None,
    correlation_id: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Follow jobs as they change their state, until Ctrl-C.

    It goes on over restarts of the server. A line for each change: when, which job,
    its type, the state it came into, its queue, its attempt and, where there is
    one, the error. With --json each line is an object, whose position --after takes
    to go on from there.

    For example:
      observatory jobs tail --state failed --state retrying
      observatory jobs tail --type email.send --json | jq .jobId

    Args:
        state: Only changes into these states; may be given more than once.
        type: Only this job type.
        queue: Only this queue.
        correlation_id: Only what belongs together.
        after: Begin after this position of the event log, not now.
        limit: End after so many.
    """
    count = None if limit is None else at_least_one(limit)
    asked = sorted({kind for one in (state or _EVENTS) for kind in _EVENTS[one]})
    wanted: dict[str, set[str] | None] = {
        "state": set(state) if state else None,
        "jobType": {type} if type else None,
        "queue": {queue} if queue else None,
    }
    with (address or Address()).client(patience=_PATIENCE_S) as client:
        found = client.events(
            type=",".join(asked), after=after, follow=True, on_lost=tell_of_trying
        )
        for record in islice(_matching(found, wanted, correlation_id), count):
            _print(record, output=output)
    return ExitCode.OK


def _matching(
    found: "Iterator[EventRecord]", wanted: dict[str, set[str] | None], correlation_id: str | None
) -> "Iterator[EventRecord]":
    for record in found:
        data = record.event["data"]
        if correlation_id is not None and record.event.get("correlationid") != correlation_id:
            continue
        if all(values is None or data.get(name) in values for name, values in wanted.items()):
            yield record


def _print(record: "EventRecord", *, output: Output) -> None:
    event = record.event
    data: dict[str, Any] = event["data"]
    if output.structured:
        correlation = {"correlationId": event.get("correlationid")}
        output.print_line({**data, **correlation, "at": event["time"], "position": record.position})
        return
    error: dict[str, str] | None = data.get("error")
    reason = f"{error['type']}: {error['message']}" if error else data.get("reason") or ""
    words = (
        f"{event['time'][:23]}Z",
        data["jobId"],
        data["jobType"],
        f"{data['state']:<9}",
        data["queue"],
        f"attempt {data['attempt']}" if data["attempt"] else "",
        reason.replace("\n", " "),
    )
    say(" ".join(word for word in words if word))
    sys.stdout.flush()
