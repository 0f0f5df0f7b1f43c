"""`observatory queues`: list, pause and resume."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import (
    TABLE,
    Clash,
    Output,
    print_table,
    rate,
    say,
    seconds,
    taken,
)

if TYPE_CHECKING:
    from observatory.client import Client

queues = App(
    name="queues",
    help="""List, pause or resume queues.

For example:
  observatory queues list
  observatory queues pause mail""",
    help_format="plaintext",
)

_Name = Annotated[str, Parameter(name="QUEUE")]


@queues.command(name="list")
def list_queues(*, address: Address | None = None, output: Output = TABLE) -> int:
    """List queues: what waits and runs in each, since when, and whether it is paused.

    For example:
      observatory queues list
    """
    with (address or Address()).client() as client:
        answer = client.read("/queues")
    if output.structured:
        output.print(answer)
    elif not answer["items"]:
        say("no queue yet, and no job type is registered; start a processor: observatory up MODULE")
    else:
        _print_list(answer["items"])
        if "lagSeconds" in answer:  # a read model of a release before does not tell
            say(f"\n{taken(answer)}")
    return ExitCode.OK


def _print_list(found: list[dict[str, Any]]) -> None:
    headings = ("QUEUE", "PAUSED", "QUEUED", "RUNNING", "OLDEST", "OUT/S", "P95 WAIT")
    rows = [
        (
            queue["name"],
            "paused" if queue["paused"] else "-",
            queue["states"]["queued"],
            queue["states"]["running"],
            seconds(queue["oldestAgeSeconds"]),
            rate(queue["finishedPerSecond"]),
            seconds(queue["waitSeconds"]["p95"] if queue["waitSeconds"] else None),
        )
        for queue in found
    ]
    print_table(headings, rows, numbers=headings[2:])


@queues.command
def pause(
    queue: _Name,
    /,
    *,
    force: Annotated[bool, Parameter(negative="")] = False,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Have every processor leave a queue alone. Its jobs wait; those running go on.

    For example:
      observatory queues pause mail

    Args:
        queue: The queue's name.
        force: Also a queue that nobody knows yet, so that it is paused when it comes.
    """
    with (address or Address()).client() as client:
        if not force:
            _refuse_unknown(client, queue)
        answer = client.pause_queue(queue)
    return _told(answer, output=output)


@queues.command
def resume(queue: _Name, /, *, address: Address | None = None, output: Output = TABLE) -> int:
    """Have processors take a paused queue up again.

    For example:
      observatory queues resume mail

    Args:
        queue: The queue's name.
    """
    with (address or Address()).client() as client:
        answer = client.resume_queue(queue)
    return _told(answer, output=output)


def _refuse_unknown(client: "Client", queue: str) -> None:
    """A name that is misspelt must not look as if the right queue had been paused."""
    from observatory.client import Refused

    try:
        known = {one["name"] for one in client.items("/queues")}
    except Refused as error:
        if error.status in (401, 403):
            return  # a key that may pause need not be one that may read
        raise
    if queue not in known:
        names = ", ".join(sorted(known)) or "none"
        raise Clash(
            f"there is no queue {queue!r} (known: {names}); --force pauses it for when it comes"
        )


def _told(answer: dict[str, Any], *, output: Output) -> int:
    if output.structured:
        output.print(answer)
    else:
        say(f"{answer['queue']} is {'paused' if answer['paused'] else 'no longer paused'}")
    return ExitCode.OK
