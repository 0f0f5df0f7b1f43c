"""`observatory jobs retry-all` and `cancel-all`: every job of a filter, counted first."""

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.job_filter import Filter
from observatory.interfaces.cli.output import TABLE, Mistake, Output, jobs_of, say
from observatory.interfaces.cli.progress import progress

if TYPE_CHECKING:
    from observatory.client import Client
    from observatory.client.operations import Action

Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="")]
Dry = Annotated[bool, Parameter(name="--dry-run", negative="")]
Every = Annotated[bool, Parameter(name="--all", negative="")]

_DID: Final = {
    "retry": ("run again", "queued again"),
    "cancel": ("be cancelled", "cancelled or asked to stop"),
}


def _filters(which: Filter | None, everything: bool) -> dict[str, Any]:
    found = (which or Filter()).given()
    if not found and not everything:
        raise Mistake("say which jobs, or --all for every one")
    return found


def retry_all(
    *,
    which: Filter | None = None,
    everything: Every = False,
    dry_run: Dry = False,
    yes: Yes = False,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Run every job again that a filter leaves; failed ones, unless states are named.

    For example:
      observatory jobs retry-all --type email.send --since 2h --dry-run
      observatory jobs retry-all --fingerprint 9f2c1a7be0d34455 --yes

    Args:
        everything: Every job, without a filter.
        dry_run: Count them, and change nothing.
        yes: Do not ask.
    """
    filters = _filters(which, everything)
    return _act("retry", filters, None, dry_run, yes, address or Address(), output)


def cancel_all(
    *,
    which: Filter | None = None,
    everything: Every = False,
    reason: str | None = None,
    dry_run: Dry = False,
    yes: Yes = False,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Cancel every job that a filter leaves; running ones are asked to stop.

    For example:
      observatory jobs cancel-all --queue mail --reason "sent by hand" --dry-run

    Args:
        everything: Every job, without a filter.
        reason: Kept with each job.
        dry_run: Count them, and change nothing.
        yes: Do not ask.
    """
    filters = _filters(which, everything)
    return _act("cancel", filters, reason, dry_run, yes, address or Address(), output)


def _act(
    action: "Action",
    filters: dict[str, Any],
    reason: str | None,
    dry_run: bool,
    yes: bool,
    address: Address,
    output: Output,
) -> int:
    will, did = _DID[action]
    with address.client() as client:
        counted = client.act_on_jobs(action, dry_run=True, **filters)
        found = _jobs(counted["matched"], complete=counted["complete"])
        # Where not all was looked into there may be some, though none was found.
        if dry_run or (not counted["matched"] and counted["complete"]):
            told = f"{found} would {will}" if dry_run else "no such jobs; nothing was changed"
            output.print(counted) if output.structured else say(told)
            return ExitCode.OK
        if not yes:
            _confirm(f"{found} will {will}", will)
        total = Total(action)
        try:
            _all_of(client, filters, reason, counted, total)
        finally:
            # Also of what was cut off: somebody has to know.
            if output.structured:
                output.print(asdict(total))
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
    return f"{'' if complete else 'more than '}{jobs_of(count)}"


def _confirm(question: str, will: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
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
