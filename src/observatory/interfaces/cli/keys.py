"""`observatory keys`: make an API key."""

from typing import Annotated, Literal

from cyclopts import App, Parameter

from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Mistake, Output, say

Scope = Literal["read", "submit", "operate", "admin"]

keys = App(
    name="keys",
    help="""Make API keys.

For example:
  observatory keys new ci --scope submit --scope read""",
    help_format="plaintext",
)


@keys.command
def new(
    name: str,
    /,
    *,
    scope: Annotated[list[Scope] | None, Parameter(negative="")] = None,
    output: Output = TABLE,
) -> int:
    """Make a key, which is shown once and kept nowhere.

    The system is given only its hash.

    For example:
      observatory keys new ci --scope submit --scope read

    Args:
        name: Who holds it; letters, digits, - and _.
        scope: What it allows; may be given more than once. Read alone if left out.
    """
    from observatory.asgi.keys import new_key

    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise Mistake(f"a key's name has letters, digits, - and _ only, not {name!r}")
    secret, entry = new_key(name, scope or ["read"])
    if output.structured:
        output.print({"key": secret, "entry": entry})
        return ExitCode.OK
    say(f"The key, for its holder (OBSERVATORY_API_KEY):\n  {secret}\n")
    say(f"The entry, for the system (OBSERVATORY_API_KEYS, separated by commas):\n  {entry}")
    return ExitCode.OK
