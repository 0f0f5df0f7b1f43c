"""`observatory jobs retry-all` and `cancel-all`: every job of a filter, counted first."""

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import AsJson, Mistake, print_json, say
from observatory.interfaces.cli.progress import progress
from observatory.interfaces.since import WORDS, read_since

if TYPE_CHECKING:
    from datetime import datetime

    from observatory.client import Client
    from observatory.client.operations import Action

State = Literal["scheduled", "queued", "running", "retrying", "completed", "failed", "cancelled"]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="")]
Dry = Annotated[bool, Parameter(name="--dry-run", negative="")]

_DID: Final = {
    "retry": ("run again", "queued again"),
    "cancel": ("be cancelled", "cancelled or asked to stop"),
}


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """Options that say which jobs are meant; all of them hold together.

    Args:
        state: Only these states; may be given more than once.
        type: Only this job type.
        queue: Only this queue.
        worker: Only what this worker runs or ran last.
        correlation_id: Only what belongs together.
        parent_id: Only what was made from this job.
        fingerprint: Only this group of failures; `observatory failures` lists them.
        since: Only jobs accepted from then on: 15m, 2h, 7d ago, or a time.
        until: Only jobs accepted before then.
        q: Only jobs in which this text is found.
        all: Every job, without a filter.
    """

    state: Annotated[list[State] | None, Parameter(negative="")] = None
    type: str | None = None
    queue: str | None = None
    worker: str | None = None
    correlation_id: str | None = None
    parent_id: str | None = None
    fingerprint: str | None = None
    since: str | None = None
    until: str | None = None
    q: str | None = None
    all: Annotated[bool, Parameter(negative="")] = False

    def filters(self) -> dict[str, Any]:
        """As the client takes them. An empty value, or none at all, must not come to mean every
        job.

        Raises:
            Mistake: it would.
        """
        given = asdict(self)
        everything = given.pop("all")
        found = {name: value for name, value in given.items() if value is not None}
        for name, value in found.items():
            if not value:
                raise Mistake(f"--{name.replace('_', '-')} is empty; leave it out or say which")
            if name in ("since", "until"):
                found[name] = _instant(name, value)
        if not found and not everything:
            raise Mistake("say which jobs, or --all for every one")
        return found


def retry_all(
    *,
    which: Which | None = None,
    dry_run: Dry = False,
    yes: Yes = False,
    address: Address | None = None,
    as_json: AsJson = False,
) -> int:
    """Run every job again that a filter leaves; failed ones, unless states are named.

    For example:
      observatory jobs retry-all --type email.send --since 2h --dry-run
      observatory jobs retry-all --fingerprint 9f2c1a7be0d34455 --yes

    Args:
        dry_run: Count them, and change nothing.
        yes: Do not ask.
    """
    filters = (which or Which()).filters()
    return _act("retry", filters, None, dry_run, yes, address or Address(), as_json)


def cancel_all(
    *,
    which: Which | None = None,
    reason: str | None = None,
    dry_run: Dry = False,
    yes: Yes = False,
    address: Address | None = None,
    as_json: AsJson = False,
) -> int:
    """Cancel every job that a filter leaves; running ones are asked to stop.

    For example:
      observatory jobs cancel-all --queue mail --reason "sent by hand" --dry-run

    Args:
        reason: Kept with each job.
        dry_run: Count them, and change nothing.
        yes: Do not ask.
    """
    filters = (which or Which()).filters()
    return _act("cancel", filters, reason, dry_run, yes, address or Address(), as_json)


def _instant(name: str, text: str) -> "datetime":
    when = read_since(text)
    if when is None:
        raise Mistake(
            f"--{name} is a time with an offset, or a span back from now ({WORDS}); not {text!r}"
        )
    return when


def _act(
    action: "Action",
    filters: dict[str, Any],
    reason: str | None,
    dry_run: bool,
    yes: bool,
    address: Address,
    as_json: bool,
) -> int:
    will, did = _DID[action]
    with address.client() as client:
        counted = client.act_on_jobs(action, dry_run=True, **filters)
        found = _jobs(counted["matched"], complete=counted["complete"])
        # Where not all was looked into there may be some, though none was found.
        if dry_run or (not counted["matched"] and counted["complete"]):
            print_json(counted) if as_json else say(f"{found} would {will}")
            return ExitCode.OK
        if not yes:
            _confirm(f"{found} will {will}", will)
        total = Total(action)
        try:
            _all_of(client, filters, reason, counted, total)
        finally:
            # Also of what was cut off: somebody has to know.
            if as_json:
                print_json(asdict(total))
            else:
                more = f"; {total.skipped:,} had changed meanwhile" if total.skipped else ""
                say(f"{_jobs(total.changed)} {did}{more}")
    return ExitCode.OK


@dataclass
class Total:
    """What came of an action so far."""

    action: "Action"
    changed: int = 0
    skipped: int = 0


def _jobs(count: int, *, complete: bool = True) -> str:
    least = "" if complete else "more than "
    return f"{least}{count:,} {'job' if count == 1 else 'jobs'}"


def _confirm(question: str, will: str) -> None:
    if not sys.stdin.isatty():
        raise Mistake(f"{question}; nobody can be asked here: --yes does it, --dry-run counts")
    print(f"{question}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Mistake(f"no job will {will}: it was not confirmed")


def _all_of(
    client: "Client",
    filters: dict[str, Any],
    reason: str | None,
    counted: dict[str, Any],
    total: Total,
) -> None:
    """Call after call until nothing is left of what was counted."""
    cursor: str | None = counted["next"]
    with progress("jobs", counted["matched"] if counted["complete"] else None) as advance:
        while True:
            done = client.act_on_jobs(total.action, cursor=cursor, reason=reason, **filters)
            total.changed += done["changed"]
            total.skipped += done["skipped"]
            advance(done["matched"])
            cursor = done["next"]
            if cursor is None:
                return
