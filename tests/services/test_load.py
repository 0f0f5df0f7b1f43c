"""However much is asked at once, a process holds only so much of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from observatory import Observatory
from services.embedding import Served, served, until

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


class Body:
    """A body that comes as far as it is let."""

    def __init__(self, size: int) -> None:
        whole = msgspec.json.encode({"type": "quick", "payload": {"text": "x" * size}})
        self._parts = whole[:-1], whole[-1:]
        self.asked_for = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.asked_for.set()
        yield self._parts[0]
        await self.goes_on.wait()
        yield self._parts[1]

    async def sent_to(self, system: Served) -> httpx.Response:
        return await system.http.post("/jobs", content=aiter(self), headers=JSON)


def _app() -> Observatory:
    app = Observatory()

    @app.job("quick")
    async def quick(text: str) -> None: ...

    return app


async def test_bodies_under_way_hold_so_many_bytes_and_no_more(
    tmp_path: Path, empty_database: Path
) -> None:
    slow, other = Body(3000), Body(2000)
    other.goes_on.set()
    async with served(_app(), tmp_path, empty_database, bodies_bytes_max=4000) as on:
        first = asyncio.create_task(slow.sent_to(on))
        await until(lambda: slow.asked_for.is_set())
        await asyncio.sleep(0.01)  # its first part is taken in

        refused = await other.sent_to(on)
        slow.goes_on.set()

        assert (await first).status_code == 202
        assert (await other.sent_to(on)).status_code == 202
        assert (await _alone(on)).status_code == 202
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"].endswith("/overloaded")


async def _alone(on: Served) -> httpx.Response:
    large = Body(6000)
    large.goes_on.set()
    return await large.sent_to(on)


async def test_so_many_requests_are_under_way_and_no_more(
    tmp_path: Path, empty_database: Path
) -> None:
    slow = Body(10)
    async with served(_app(), tmp_path, empty_database, requests_max=1) as on:
        first = asyncio.create_task(slow.sent_to(on))
        await slow.asked_for.wait()

        refused = await on.http.get("/jobs")
        looked_after = [(await on.http.get(path)).status_code for path in ("/readyz", "/metrics")]
        slow.goes_on.set()

        assert (await first).status_code == 202
        assert (await on.http.get("/jobs")).status_code == 200
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("/overloaded")
    assert looked_after == [200, 200]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch"])
async def test_what_would_be_refused_is_refused_before_its_body_is_read(
    tmp_path: Path, empty_database: Path, path: str
) -> None:
    body = Body(10)
    async with served(_app(), tmp_path, empty_database, backlog_max=1) as on:
        on.system.dispatcher._backlog += 1
        answer = await on.http.post(path, content=aiter(body), headers=JSON)
        on.system.dispatcher._backlog -= 1

    assert answer.json()["type"].endswith("/backlog-full")
    assert not body.asked_for.is_set()


async def test_a_body_that_trickles_in_is_given_up(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.asgi.body._WHOLE_MAX_S", 0.2)

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.005)

    async with served(_app(), tmp_path, empty_database) as on:
        answer = await on.http.post("/jobs", content=trickle(), headers=JSON)

    assert answer.status_code == 400
    assert "did not end within" in answer.json()["detail"]
