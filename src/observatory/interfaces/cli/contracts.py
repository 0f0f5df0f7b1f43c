"""`observatory contracts`: are the contracts sound, and do they keep their promises?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import AsJson, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observatory.core.contract_tree import Fault

contracts = App(name="contracts", help="Check the contracts.", help_format="plaintext")


@contracts.command
def check(
    directory: Annotated[Path | None, Parameter(name="DIR")] = None,
    /,
    *,
    against: Path | None = None,
    as_json: AsJson = False,
) -> int:
    """Check a tree of contracts: schemas are valid, examples are what they say they are.

    With --against an older tree, also refuse a breaking change without a new major version.
    Exit code 1 if anything is found.

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
    _report(faults, folder, as_json=as_json)
    return ExitCode.FAILED if faults else ExitCode.OK


def _report(faults: "Sequence[Fault]", folder: Path, *, as_json: bool) -> None:
    if as_json:
        items = [f._asdict() for f in faults]
        print_json({"ok": not faults, "faults": items})
        return
    for fault in faults:
        say(fault)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    say(f"{folder}: {count if faults else 'no fault found'}")
