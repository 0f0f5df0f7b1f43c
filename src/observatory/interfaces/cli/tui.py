"""`observatory tui`: the terminal view."""

import sys

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import Mistake


def tui(*, address: Address | None = None) -> int:
    """Watch and operate a running system in the terminal. `?` shows the keys.

    For example:
      observatory tui
      observatory tui --url https://jobs.example.com
    """
    if not sys.stdout.isatty():
        raise Mistake("the terminal view needs a terminal; `observatory stats` does not")
    from observatory.client import AsyncClient
    from observatory.interfaces.tui.app import Tui

    where = address or Address()
    try:
        client = AsyncClient(where.url, key=where.key, patience=1.0)
    except ValueError as error:
        raise Mistake(str(error)) from error
    code = Tui(client, client.url).run()
    return ExitCode.OK if code is None else code
