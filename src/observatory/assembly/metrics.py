"""Who tells which metrics: every process its own, and one the system's."""

import asyncio
import gzip
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from observatory import __version__
from observatory.asgi.parameters import Parameters
from observatory.asgi.routes import ScopedRoute
from observatory.assembly.backends import Backends
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.metrics import (
    PREFIX,
    Asked,
    Counted,
    Exposition,
    Scrape,
    labelled_counter,
)

_PUBLISHED: Final = (
    "Events given to the spine, by whether it confirmed them; those it did not are given again."
)


def exposition(service: str, counted: list[Counted], asked: list[Asked]) -> Exposition:
    """What a process tells.

    Args:
        service: what it is, for people.
        counted: what its services know by themselves.
        asked: what they ask the backends for.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return Exposition(registry, [_build_info(service), *counted], asked)


def published(dispatcher: Dispatcher) -> Counted:
    """What a process that writes the store tells of its publishing."""
    return lambda: [
        labelled_counter("events_published", _PUBLISHED, "outcome", dispatcher.published)
    ]


def probe(backends: Backends) -> Asked:
    """Asks each backend whether it is there, and nothing else."""

    async def ask(scrape: Scrape) -> list[Metric]:
        await asyncio.gather(
            scrape.ask("store", backends.store.check()),
            scrape.ask("spine", backends.spine.check()),
            scrape.ask("aggregates", backends.aggregates.position()),
        )
        return []

    return ask


def _build_info(service: str) -> Callable[[], list[Metric]]:
    def told() -> list[Metric]:
        family = GaugeMetricFamily(
            PREFIX + "build_info", "What is running.", labels=("version", "component")
        )
        family.add_metric([__version__, service], 1)
        return [family]

    return told


def metrics_route(exposition: Exposition, scopes: Iterable[str]) -> ScopedRoute:
    """``GET /metrics``, compressed for those who take it.

    Args:
        exposition: what is told.
        scopes: those of a key that may read it.
    """

    async def metrics(request: Request) -> Response:
        Parameters(request, ())
        body = await exposition.render()
        headers = {"Vary": "Accept-Encoding"}
        if _takes_gzip(request):
            # The names are most of it, each a hundred times: the fastest level makes a tenth of it.
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
        return Response(body, 200, headers, "text/plain; version=0.0.4; charset=utf-8")

    return ScopedRoute("/metrics", metrics, method="GET", scopes=scopes)


def _takes_gzip(request: Request) -> bool:
    for given in request.headers.getlist("Accept-Encoding"):
        for one in given.split(","):
            name, _, weight = one.replace(" ", "").lower().partition(";q=")
            if name == "gzip":
                return weight.strip("0.") != "" or not weight
    return False
