"""The process that serves: what happens when it cannot begin."""

import asyncio
from typing import Any

import pytest
import uvicorn

from observatory.assembly import serving
from observatory.core.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def _nothing(*_: Any) -> None:
    return None


@pytest.mark.parametrize("fault", [OSError("no more sockets"), None])
async def test_a_server_that_ends_before_it_listens_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    async def ends(*_: Any, **__: Any) -> None:
        if fault is not None:
            raise fault

    monkeypatch.setattr(uvicorn.Server, "serve", ends)
    server = serving._Server(uvicorn.Config(_nothing))
    task = asyncio.create_task(server.serve())
    with pytest.raises(type(fault) if fault else ConfigurationError):
        await asyncio.wait_for(serving._until_ready(server, task), 5)
