"""The system: the services of one process, wired to their backends."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
import uuid_utils
from starlette.types import ASGIApp, Receive, Scope, Send

from observatory.asgi.correlation import Correlation
from observatory.asgi.documentation import documentation_routes
from observatory.asgi.durations import Durations
from observatory.asgi.health import Check, health_routes
from observatory.asgi.keys import Guard, Key, read_keys
from observatory.asgi.load import Load
from observatory.asgi.page import page_routes
from observatory.asgi.routes import ScopedRoute, application
from observatory.asgi.tracing import Traced
from observatory.assembly.backends import Backends, opened
from observatory.assembly.metrics import exposition, metrics_route, probe, published
from observatory.core.application import Observatory
from observatory.core.contract_tree import bundled
from observatory.core.errors import Draining, ObservatoryError
from observatory.core.instant import MICROSECONDS
from observatory.core.job_type import Handler
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.loop import Loop, check_loops
from observatory.runtime.metrics import Asked, Counted, Exposition
from observatory.services.gateway.app import Gateway
from observatory.services.metrics_engine.exposition import SystemMetrics
from observatory.services.metrics_engine.follow import Follower
from observatory.services.processor.service import Processor
from observatory.services.read_model.alerts import AlertsElsewhere, AlertSource, NoAlerts
from observatory.services.read_model.app import ReadModel
from observatory.services.read_model.conditions import Canary, Conditions
from observatory.services.read_model.freshness import Clock
from observatory.settings import Settings, contract_files

_log = structlog.get_logger(__name__)

_READ_METHODS: Final = frozenset({"GET", "HEAD"})


class Service(StrEnum):
    """The services a process may run."""

    GATEWAY = "gateway"
    PROCESSOR = "processor"
    METRICS_ENGINE = "metrics-engine"
    READ_MODEL = "read-model"


ALL_SERVICES: Final = frozenset(Service)
_WRITING: Final = {Service.GATEWAY, Service.PROCESSOR}


def service_name(services: frozenset[Service]) -> str:
    """What a process that runs these is called in log lines and traces."""
    return "-".join(["observatory", *([] if services == ALL_SERVICES else sorted(services))])


def now() -> int:
    """The clock of a process: microseconds since the epoch. Decisions use the store's."""
    return time.time_ns() // 1000


class _Part(Protocol):
    @property
    def loops(self) -> tuple[Loop, ...]: ...
    async def stop(self) -> None: ...


class System:
    """The services of one process."""

    def __init__(
        self,
        backends: Backends,
        services: frozenset[Service],
        handlers: Mapping[str, Handler],
        settings: Settings,
        keys: tuple[Key, ...],
        page: Path | None,
    ) -> None:
        self.store, self.spine = backends.store, backends.spine
        self.aggregates = backends.aggregates
        self._alerting = backends.alerting
        name = "embedded" if services == ALL_SERVICES else "-".join(sorted(services))
        source = f"/observatory/{name}/{self.store.publisher}"
        self.dispatcher = Dispatcher(self.store, self.spine, source, settings.backlog_max)
        self.processor = (
            Processor(self.store, self.spine, self.dispatcher, handlers, settings, now)
            if Service.PROCESSOR in services
            else None
        )
        self.follower = (
            Follower(self.spine, self.store, self.aggregates)
            if Service.METRICS_ENGINE in services
            else None
        )
        self._services = services
        self._draining = False
        self._name = name
        self._backends = backends
        self._interfaces(settings, keys, page)

    def _interfaces(self, settings: Settings, keys: tuple[Key, ...], page: Path | None) -> None:
        tree = contract_files.load()
        documents: dict[str, Any] = {
            document["$id"]: document
            for path, document in tree.items()
            if path.endswith(".json") and "$id" in document
        }
        health = health_routes(self._checks())
        self.gateway = Gateway(self.store, self.dispatcher, documents, settings)
        clock = Clock(self.store, self.spine, self.aggregates)
        self.read_model = ReadModel(
            self.store,
            self.spine,
            self.aggregates,
            clock,
            self._alerts(clock, settings),
            documents,
            settings,
        )
        durations = Durations()
        metrics = self._exposition(durations, settings)
        write_document = bundled(tree, "openapi/gateway.v1.json")
        read_document = bundled(tree, "openapi/read-model.v1.json")
        # Who may only submit may still read what this service says of itself.
        writers = ("submit", "read")
        write = [
            *self.gateway.routes(),
            *health,
            metrics_route(metrics, writers),
            *documentation_routes(writers, write_document),
        ]
        own = [*health, metrics_route(metrics, ("read",))]
        read = [
            *self.read_model.routes(),
            *own,
            # Where the two share an origin, its GET /docs comes here.
            *documentation_routes(("read",), read_document, write_document),
            *(page_routes(page) if page is not None else []),
        ]
        both = [*write, *read]
        load = Load(settings.requests_max, settings.bodies_bytes_max)
        writing, reading = application(write, both), application(read, both)
        self.gateway_app: ASGIApp = Traced(Correlation(load.bound(Guard(writing, keys))))
        self.read_model_app: ASGIApp = Correlation(load.bound(Guard(reading, keys)))
        self.app: ASGIApp = durations.measure(self._app(own, keys))

    def _exposition(self, durations: Durations, settings: Settings) -> Exposition:
        counted: list[Counted] = [durations.metrics]
        asked: list[Asked] = []
        if _WRITING & self._services:
            counted.append(published(self.dispatcher))
        if Service.GATEWAY in self._services:
            counted.append(self.gateway.canary.metrics)
        if Service.READ_MODEL in self._services:
            counted.append(self.read_model.metrics)
        if self.follower is not None:
            whole = SystemMetrics(
                self.store, self.spine, self.aggregates, self.follower, settings.lease_seconds
            )
            asked.append(whole.ask)
        else:
            # Whoever does not follow the log does not ask where it ends: that means to follow it.
            asked.append(probe(self._backends))
        return exposition(self._name, counted, asked)

    def _alerts(self, clock: Clock, settings: Settings) -> AlertSource:
        if self._alerting is not None:
            return AlertsElsewhere(self._alerting, now)
        if self._services != ALL_SERVICES:
            return NoAlerts()
        lease_us = int(settings.lease_seconds * MICROSECONDS)
        followed = self.follower
        canary = Canary(
            settings.canary_seconds, lambda: followed.heartbeats.last if followed else {}
        )
        return Conditions(self.store, self.spine, self.aggregates, clock, lease_us, now, canary)

    def _app(self, own: list[ScopedRoute], keys: tuple[Key, ...]) -> ASGIApp:
        writes = Service.GATEWAY in self._services
        reads = Service.READ_MODEL in self._services
        if writes and reads:
            return _one_origin(self.gateway_app, self.read_model_app)
        if writes:
            return self.gateway_app
        if reads:
            return self.read_model_app
        return Correlation(Guard(application(own), keys))

    def _checks(self) -> dict[str, Check]:
        async def store() -> str:
            facts = await self.store.check()
            return f"{facts['backend']} schema {facts['schema']}"

        async def spine() -> str:
            await self.spine.check()
            return f"{self.dispatcher.backlog} changes to publish"

        async def dispatch() -> str:
            # Accepting outlives the spine, so a gateway is ready while it may accept.
            self.dispatcher.admit(0, 1)
            return f"{self.dispatcher.backlog} changes to publish"

        async def aggregates() -> str:
            _, offset = await self.aggregates.states()
            return f"applied up to {offset}"

        async def processor() -> str:
            assert self.processor is not None
            if self._draining:
                raise Draining(f"{self.processor.worker} lets {self.running} end, claims no more")
            return self.processor.check()

        async def loops() -> str:
            return check_loops(loop for part in self._parts() for loop in part.loops)

        every = {
            "store": (store, ALL_SERVICES),
            "dispatch": (dispatch, {Service.GATEWAY}),
            "spine": (spine, {Service.PROCESSOR, Service.METRICS_ENGINE}),
            "aggregates": (aggregates, {Service.METRICS_ENGINE}),
            "processor": (processor, {Service.PROCESSOR}),
            "loops": (loops, ALL_SERVICES),
        }
        return {name: check for name, (check, needing) in every.items() if self._services & needing}

    def _parts(self) -> list[_Part]:
        canary = self.gateway.canary
        every = (self.dispatcher, self.follower, self.processor, self.read_model, canary)
        return [part for part in every if part is not None]

    @property
    def running(self) -> int:
        """Runs under way."""
        return 0 if self.processor is None else self.processor.running

    @property
    def abandoned(self) -> int:
        """Runs whose handlers go on though they have settled."""
        return 0 if self.processor is None else self.processor.abandoned

    async def start(self) -> None:
        """Start every service, in the order in which they need one another."""
        await self.spine.open()
        self.dispatcher.start()
        if self.follower is not None:
            self.follower.start()
        if Service.READ_MODEL in self._services:
            self.read_model.start()
        if self.processor is not None:
            await self.processor.start()
        if Service.GATEWAY in self._services:
            self.gateway.canary.start()

    async def drain(self) -> None:
        """Take no more jobs, and return when those that run have ended or were handed back. What
        is read is answered as before."""
        if self._draining:
            return
        self._draining = True
        await _stop(self.gateway.canary)
        self.dispatcher.refuse_more()
        if self.processor is not None:
            await _stop(self.processor)

    async def end_streams(self) -> None:
        """End what would keep connections open."""
        await self.read_model.stop()

    async def stop(self) -> None:
        """Drain, and let the views catch up with what was drained. Each part is stopped whatever
        came of the one before; what failed is told in the log."""
        await self.drain()
        for part in (self.dispatcher, self.read_model, self.follower):
            if part is not None:
                await _stop(part)


async def _stop(part: _Part) -> None:
    try:
        await part.stop()
    except Exception as error:
        # What is away is told by its name; only what nobody foresaw needs its frames.
        unforeseen = not isinstance(error, ObservatoryError)
        name = type(part).__name__.lower()
        _log.error("system.not_stopped", part=name, error=repr(error), exc_info=unforeseen)


@asynccontextmanager
async def running(
    application: Observatory,
    settings: Settings,
    services: frozenset[Service] = ALL_SERVICES,
    page: Path | None = None,
) -> AsyncGenerator[System]:
    """Services of an application, running, without a listening socket.

    Raises:
        ConfigurationError: a setting or a backend cannot be used.
    """
    keys = read_keys(settings.api_keys.get_secret_value())
    boot = uuid_utils.uuid4().hex[:16]
    async with opened(settings, boot, now, alone=services == ALL_SERVICES) as backends:
        system = System(backends, services, application.handlers, settings, keys, page)
        try:
            await system.start()
            yield system
        finally:
            await system.stop()


def _one_origin(gateway: ASGIApp, read_model: ASGIApp) -> ASGIApp:
    """GET goes to the read model, all else to the gateway, as the edge proxy does in a cluster."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reads = scope["type"] == "http" and scope["method"] in _READ_METHODS
        await (read_model if reads else gateway)(scope, receive, send)

    return app
