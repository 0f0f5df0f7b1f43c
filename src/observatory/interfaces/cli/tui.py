"""`observatory tui`: the terminal view."""

import asyncio
import sys
from typing import TYPE_CHECKING

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import Mistake

if TYPE_CHECKING:
    from observatory.client import AsyncClient


def tui(*, address: Address | None = None) -> int:
    """Watch and operate a running system in the terminal. `?` shows the keys.

    For example:
      observatory tui
      observatory tui --url https://jobs.example.com
    """
    if not sys.stdout.isatty():
        raise Mistake("the terminal view needs a terminal; `observatory stats` does not")
    from observatory.client import AsyncClient

    where = address or Address()
    try:
        client = AsyncClient(where.url, key=where.key, patience=1.0)
    except ValueError as error:
        raise Mistake(str(error)) from error
    return asyncio.run(_shown(client))


async def _shown(client: "AsyncClient") -> int:
    from observatory.interfaces.tui.app import Tui

    async with client:
        code = await Tui(client).run_async()
    return ExitCode.OK if code is None else code
