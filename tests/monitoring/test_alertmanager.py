"""What Alertmanager does with alerts, as it is set up here."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from development.prometheus import AlertmanagerServer
from monitoring import scraping
from observatory.backends.alertmanager import Alertmanager
from observatory.core import alert as known
from real import until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AlertmanagerServer]:
    nowhere = "http://127.0.0.1:9/"
    with AlertmanagerServer(tmp_path, scraping.alertmanager(nowhere, wait="1s")) as server:
        yield server


def fire(server: AlertmanagerServer, *alerts: dict[str, str]) -> None:
    given: list[dict[str, Any]] = [{"labels": labels} for labels in alerts]
    httpx.post(f"{server.url()}/api/v2/alerts", json=given).raise_for_status()


def shown(server: AlertmanagerServer) -> set[tuple[str, str]]:
    """The alerts that a read model would show, each with its namespace."""

    async def ask() -> tuple[known.Alert, ...]:
        asked = Alertmanager(server.url())
        try:
            return (await asked.firing()).alerts
        finally:
            await asked.close()

    return {(one.name, one.labels.get("namespace", "")) for one in asyncio.run(ask())}


def test_where_nobody_works_late_queues_are_told_by_that_alone(server: AlertmanagerServer) -> None:
    none, late, slow = (
        {"alertname": rule.name, "severity": rule.severity.value}
        for rule in (known.NO_PROCESSORS, known.BACKLOG_GROWING, known.LATENCY_HIGH)
    )
    fire(server, late | {"queue": "a"}, slow | {"queue": "a"}, late | {"namespace": "elsewhere"})
    until(lambda: len(shown(server)) == 3, timeout_s=10, why=lambda: str(shown(server)))

    fire(server, none)

    told = {(known.BACKLOG_GROWING.name, "elsewhere"), (known.NO_PROCESSORS.name, "")}
    until(lambda: shown(server) == told, timeout_s=10, why=lambda: str(shown(server)))
