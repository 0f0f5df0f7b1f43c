"""Of several services each tells what is its own, so that a sum over them counts nothing twice."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from observatory import Observatory
from observatory.assembly.system import Service, running
from observatory.settings import Settings
from services.embedding import until
from services.scraping import Scraped, documented, scrape

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TOLD_BY = {
    Service.GATEWAY: {"each", "writers", "gateway"},
    Service.PROCESSOR: {"each", "writers"},
    Service.METRICS_ENGINE: {"each", "engine"},
    Service.READ_MODEL: {"each", "read model"},
}


async def test_each_service_tells_its_own(shared_backends: dict[str, str], tmp_path: Path) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    urls = {name.removeprefix("OBSERVATORY_").lower(): url for name, url in shared_backends.items()}
    settings = Settings(**urls, data=tmp_path, heartbeat_seconds=0.2, canary_seconds=0.3)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        clients: dict[Service, httpx.AsyncClient] = {}
        for service in Service:
            one = await stack.enter_async_context(running(app, settings, frozenset({service})))
            transport = httpx.ASGITransport(app=one.app)
            client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
            clients[service] = await stack.enter_async_context(client)

        async def heartbeat() -> Scraped | None:
            found = await scrape(clients[Service.METRICS_ENGINE])
            return found if len(found.of("heartbeat_last_seen_timestamp_seconds")) == 4 else None

        await until(heartbeat, "for a heartbeat job to come through the services")
        scraped = {service: await scrape(client) for service, client in clients.items()}

    for service, found in scraped.items():
        own = {name for name, row in documented().items() if row["told by"] in TOLD_BY[service]}
        assert found.own() == own, service
        assert found.of("build_info")[0][0]["component"] == service
        up = dict.fromkeys(("store", "spine", "aggregates"), 1.0)
        assert found.by("backend_up", "backend") == up, service
