"""`observatory events`: read or follow the event log."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import AsJson, at_least_one, print_json_line, say

if TYPE_CHECKING:
    from observatory.client import EventRecord


def events(
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    type: str | None = None,
    subject: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    address: Address | None = None,
    as_json: AsJson = False,
) -> int:
    """Print events of the log: the latest, those after a position, or live.

    Each line begins with the event's position in the log, which --after takes.
    With --json each line is a CloudEvent, its position an attribute of it.
    Following goes on over restarts of the server.

    For example:
      observatory events --follow
      observatory events --type job.failed --limit 5
      observatory events --after 42-0 --limit 100
      observatory events --follow --json | jq .type

    Args:
        follow: Go on with events as they happen, until Ctrl-C.
        type: Only this event type, such as job.failed.
        subject: Only this job or worker.
        after: Only what comes after this position, oldest first.
        limit: How many at most, from 1 up; 50 unless following.
    """
    count = at_least_one(limit) if limit is not None else None if follow else 50
    # Whoever follows wants to go on over a restart of the server.
    with (address or Address()).client(patience=30.0 if follow else 1.0) as client:
        found = client.events(type=type, subject=subject, after=after, follow=follow)
        for record in islice(found, count):
            if as_json:
                # An extension attribute, as CloudEvents 1.0 lets whoever passes an event on add.
                print_json_line({**record.event, "position": record.position})
            else:
                _print(record, at_once=follow)
    return ExitCode.OK


def _print(record: "EventRecord", *, at_once: bool) -> None:
    import sys

    event = record.event
    data: dict[str, Any] = event.get("data") or {}
    attempt = f"attempt {data['attempt']}" if data.get("attempt") else ""
    error: dict[str, str] = data.get("error") or {}
    reason: str = f"{error['type']}: {error['message']}" if error else data.get("reason") or ""
    words: tuple[str, ...] = (
        f"{record.position:<9}",
        f"{event['time'][:23]}Z",
        f"{event['type']:<18}",
        event.get("subject") or "-",
        data.get("jobType") or "",
        attempt,
        reason.replace("\n", " "),
    )
    say(" ".join(word for word in words if word))
    if at_once:
        sys.stdout.flush()
