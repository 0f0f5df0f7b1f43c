"""`observatory events`: read or follow the event log."""

import sys
from itertools import islice
from typing import Annotated, Any

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Mistake, Output, at_least_one, safe, say


def events(
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    type: str | None = None,
    subject: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    address: Address | None = None,
    output: Output = TABLE,
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
        cursor: Go on where an earlier list, which told it on stderr, was cut.
    """
    if follow and cursor is not None:
        raise Mistake("--cursor goes on with a list; --follow goes on with --after")
    from observatory.client.live import event_params
    from observatory.interfaces.cli.listing import Listing

    count = at_least_one(limit) if limit is not None else None if follow else 50
    # Whoever follows wants to go on over a restart of the server.
    with (address or Address()).client(patience=30.0 if follow else 1.0) as client:
        if follow:
            found = client.events(
                type=type, subject=subject, after=after, follow=True, on_lost=tell_of_trying
            )
            for record in islice(found, count):
                _print(record.position, record.event, output=output)
            return ExitCode.OK
        params = event_params(type, subject, after)
        listing = Listing(client, "/events", params, limit=count, cursor=cursor)
        for item in listing:
            _print(item["position"], item["event"], output=output)
        listing.tell_of_more()
    return ExitCode.OK


def tell_of_trying(reason: str) -> None:
    """Say on stderr that nothing answers, and that it is tried again."""
    # Whoever mistyped the address must not look at nothing for as long as a restart may take.
    print(f"observatory: {safe(reason)} Trying again …", file=sys.stderr, flush=True)


def _print(position: str, event: dict[str, Any], *, output: Output) -> None:
    if output.structured:
        # An extension attribute, as CloudEvents 1.0 lets whoever passes an event on add.
        output.print_line({**event, "position": position})
        return
    data: dict[str, Any] = event.get("data") or {}
    attempt = f"attempt {data['attempt']}" if data.get("attempt") else ""
    error: dict[str, str] = data.get("error") or {}
    reason: str = f"{error['type']}: {error['message']}" if error else data.get("reason") or ""
    words: tuple[str, ...] = (
        f"{position:<9}",
        f"{event['time'][:23]}Z",
        f"{event['type']:<18}",
        event.get("subject") or "-",
        data.get("jobType") or "",
        attempt,
        reason.replace("\n", " "),
    )
    say(" ".join(word for word in words if word))
    sys.stdout.flush()
