"""`observatory contracts`: which there are, are they sound, and do they keep their promises?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

from cyclopts import App, Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Output, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observatory.core.contract_tree import Fault

contracts = App(
    name="contracts",
    help="""List, show or check contracts.

For example:
  observatory contracts list --kind jobType
  observatory contracts show email.send""",
    help_format="plaintext",
)


@contracts.command(name="list")
def list_contracts(
    *,
    kind: Literal["schema", "jobType"] | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """List the contracts of a running system: its own, and those of job types.

    For example:
      observatory contracts list --kind jobType

    Args:
        kind: Only the system's own schemas, or only those of job types' payloads.
    """
    with (address or Address()).client() as client:
        answer = client.read("/contracts")
    found = [one for one in answer["items"] if kind in (None, one["kind"])]
    if output.structured:
        output.print({**answer, "items": found})
    elif not found:
        say("no job type is registered; start a processor: observatory up MODULE")
    else:
        rows = [(one["name"], one["kind"], one["version"], one["title"]) for one in found]
        print_table(("NAME", "KIND", "VERSION", "TITLE"), rows)
    return ExitCode.OK


@contracts.command
def show(
    name: Annotated[str, Parameter(name="NAME")],
    /,
    *,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Show a contract of a running system, a JSON Schema.

    For example:
      observatory contracts show email.send
      observatory contracts show job.v1.json

    Args:
        name: As `observatory contracts list` tells it: a job type, or the path of a schema.
    """
    with (address or Address()).client() as client:
        # A name that nobody knows is asked for all the same: the system says best what is wrong.
        # Dots are quoted, too: httpx would take `..` for the way up to another route.
        quoted = quote(name, safe="", errors="replace").replace(".", "%2E")
        path = f"/contracts/{quoted}"
        for one in client.read("/contracts")["items"]:
            if one["name"] == name:
                path = one["href"]
        # It is JSON for people, too.
        output.print(client.read(path))
    return ExitCode.OK


@contracts.command
def check(
    directory: Annotated[Path | None, Parameter(name="DIR")] = None,
    /,
    *,
    against: Path | None = None,
    output: Output = TABLE,
) -> int:
    """Check that a tree of contracts is sound, and its examples are what they say.

    With --against an older tree, also refuse a breaking change without a new major
    version. Exit code 1 if anything is found.

    For example:
      observatory contracts check
      observatory contracts check contracts --against ../released/contracts

    Args:
        directory: The tree; the one that comes with this installation if left out.
        against: An older tree.
    """
    from observatory.core import contract_tree
    from observatory.settings import contract_files

    folder = directory or contract_files.default_directory()
    tree = contract_files.load(folder)
    faults = contract_tree.check(tree)
    if against is not None:
        faults += contract_tree.check_against(tree, contract_files.load(against))
    _report(faults, folder, output=output)
    return ExitCode.FAILED if faults else ExitCode.OK


def _report(faults: "Sequence[Fault]", folder: Path, *, output: Output) -> None:
    if output.structured:
        items = [f._asdict() for f in faults]
        output.print({"ok": not faults, "faults": items})
        return
    for fault in faults:
        say(fault)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    say(f"{folder}: {count if faults else 'no fault found'}")
