"""What the terminal view knows of the age of what it shows."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from observatory.client import AsyncClient, Unreachable
from observatory.interfaces.tui import source as source_module
from observatory.interfaces.tui.source import Source

pytestmark = pytest.mark.anyio

OLD = {"lagSeconds": 60.0, "complete": True, "rebuilding": False}


class Asked(AsyncClient):
    """A fake: a system whose answers come when the test says so, in any order."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.waiting: deque[asyncio.Future[Any]] = deque()

    async def read(self, path: str, params: Any = None) -> Any:
        """See `AsyncClient.read`."""
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]


async def test_who_asks_no_longer_does_not_make_a_system_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_module, "_HANGS_S", 0.0)
    source = Source(client := Asked())
    asking = [asyncio.create_task(source.read("/jobs")) for _ in range(2)]
    await asyncio.sleep(0.01)
    asking[1].cancel()
    await asyncio.wait(asking[1:])

    assert source.trouble == f"{client.url} does not answer"

    client.waiting[0].set_result({"items": []})
    await asking[0]
    assert source.trouble is None


async def test_an_answer_for_the_view_before_says_nothing_of_this_one() -> None:
    source = Source(client := Asked())
    asking = asyncio.create_task(source.read("/stats"))
    await asyncio.sleep(0)
    source.looked_away()
    client.waiting[0].set_result(OLD)
    await asking
    assert source.old is None

    asking = asyncio.create_task(source.read("/jobs/1"))
    await asyncio.sleep(0)
    source.looked_away()
    client.waiting[1].set_exception(Unreachable("it does not answer"))
    await asking
    assert source.trouble is None, "nobody reads it again, so this would stay for ever"

    asking = asyncio.create_task(source.read("/stats"))
    await asyncio.sleep(0)
    client.waiting[2].set_result(OLD)
    await asking
    assert source.old == "60.0 s behind the log"
