"""The assembly: settings → backends → services. The only place that names a backend."""

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uuid_utils
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from observatory.asgi.connection import BoundedHeadProtocol
from observatory.asgi.correlation import Correlation
from observatory.asgi.documentation import documentation_routes
from observatory.asgi.health import Check, health_routes
from observatory.asgi.keys import LOOPBACK_NAMES, Guard, Key, read_keys
from observatory.asgi.page import page_routes
from observatory.asgi.parameters import Parameters
from observatory.backends.sqlite.aggregates import SqliteAggregates
from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.spine import SqliteSpine
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.application import Observatory
from observatory.core.contract_tree import bundled
from observatory.core.errors import ConfigurationError
from observatory.core.job_type import Handler
from observatory.runtime.dispatch import Dispatcher
from observatory.runtime.telemetry import configure_logging
from observatory.services.gateway.app import SCOPES, Gateway, gateway_app
from observatory.services.metrics_engine.exposition import Exposition
from observatory.services.metrics_engine.follow import Follower
from observatory.services.processor.service import Processor
from observatory.services.read_model.app import ReadModel, read_model_app
from observatory.settings import Settings, contract_files

_READ_METHODS = frozenset({"GET", "HEAD"})
_CLOSE_S = 5
_SWITCH_INTERVAL_S = 0.0005
"""Handlers that compute in threads share the interpreter with the event loop. With Python's 5 ms
for each of 32 threads, the loop would come to turn only every 160 ms."""


def now() -> int:
    """The clock of the embedded system: microseconds since the epoch."""
    return time.time_ns() // 1000


class System:
    """Every service of the embedded system, in one process."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        settings: Settings,
        keys: tuple[Key, ...],
        page: Path | None,
    ) -> None:
        boot = uuid_utils.uuid4().hex[:16]
        tree = contract_files.load()
        documents: dict[str, Any] = {
            document["$id"]: document
            for path, document in tree.items()
            if path.endswith(".json") and "$id" in document
        }
        self.database = database
        self.store = SqliteStore(database, boot)
        self.spine = SqliteSpine(database)
        self.aggregates = SqliteAggregates(database)
        self.dispatcher = Dispatcher(
            self.store, self.spine, f"/observatory/embedded/{boot}", settings.backlog_max
        )
        self.processor = Processor(self.store, self.spine, self.dispatcher, handlers, settings, now)
        self.follower = Follower(self.spine, self.store, self.aggregates)
        self.read_model = ReadModel(self.store, self.spine, self.aggregates, documents, settings)
        gateway = Gateway(self.store, self.dispatcher, documents, settings)
        exposition = Exposition(self.store, self.spine, self.aggregates)
        checks = self._checks()
        write: list[BaseRoute] = [
            *health_routes(checks),
            *documentation_routes(bundled(tree, "openapi/gateway.v1.json")),
            _metrics_route(exposition),
        ]
        read: list[BaseRoute] = [
            *health_routes(checks),
            *documentation_routes(bundled(tree, "openapi/read-model.v1.json")),
            _metrics_route(exposition),
            *(page_routes(page) if page is not None else []),
        ]
        both = [*gateway.routes(), *write, *self.read_model.routes(), *read]
        self.gateway_app = Correlation(
            Guard(gateway_app(gateway, write, both), keys, SCOPES, "submit")
        )
        self.read_model_app = Correlation(
            Guard(read_model_app(self.read_model, read, both), keys, {}, "read")
        )
        self.app = _one_origin(self.gateway_app, self.read_model_app)

    def _checks(self) -> dict[str, Check]:
        async def store() -> str:
            facts = await self.store.check()
            return f"{facts['backend']} schema {facts['schema']}"

        async def spine() -> str:
            log = await self.spine.log_range()
            return f"log at {log.last}, {self.dispatcher.backlog} commits to publish"

        async def aggregates() -> str:
            _, offset = await self.aggregates.states()
            return f"applied up to {offset}"

        async def processor() -> str:
            return f"{self.processor.worker} runs {self.processor.running}"

        return {"store": store, "spine": spine, "aggregates": aggregates, "processor": processor}

    async def start(self) -> None:
        """Start every service, in the order in which they need one another."""
        await self.spine.open()
        self.dispatcher.start()
        self.follower.start()
        self.read_model.start()
        await self.processor.start()

    async def stop(self) -> None:
        """Drain, and let the views catch up with what was drained."""
        await self.processor.stop()
        await self.dispatcher.stop()
        await self.read_model.stop()
        await self.follower.stop()


@asynccontextmanager
async def embedded(
    application: Observatory, settings: Settings, page: Path | None = None
) -> AsyncGenerator[System]:
    """The embedded system, running, without a listening socket.

    Raises:
        ConfigurationError: a setting or the data folder cannot be used.
    """
    keys = read_keys(settings.api_keys.get_secret_value())
    database = Database(settings.data, now)
    try:
        system = System(database, application.handlers, settings, keys, page)
        await system.start()
        try:
            yield system
        finally:
            await system.stop()
    finally:
        await database.close()


async def serve(
    application: Observatory,
    *,
    host: str,
    port: int,
    data: Path,
    page: Path | None,
    on_ready: Callable[[str], Awaitable[None] | None],
) -> int:
    """Run the whole system in this process until SIGTERM or SIGINT; returns the exit code.

    A second signal ends the process at once; what ran is then run again at the next start.

    Args:
        application: whose job types are run.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        data: the folder of the database.
        page: the folder of the built page, or None.
        on_ready: called with the base URL once requests are answered.

    Raises:
        ConfigurationError: a setting, the data folder, the address or the port cannot be used.
    """
    settings = Settings().model_copy(update={"data": data, "host": host, "port": port})
    configure_logging(settings.log_level)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if host not in LOOPBACK_NAMES and not settings.api_keys.get_secret_value():
        raise ConfigurationError(
            f"refusing to listen on {host} without keys: set OBSERVATORY_API_KEYS "
            "(`observatory keys` makes one), or listen on 127.0.0.1"
        )
    stop = _stop_event()
    async with embedded(application, settings, page) as system:
        config = uvicorn.Config(
            system.app,
            http=BoundedHeadProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_CLOSE_S,
        )
        sockets = [_bind(host, port)]
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=sockets), name="http")
        await server.ready.wait()
        shown = f"[{host}]" if ":" in host else host
        called = on_ready(f"http://{shown}:{sockets[0].getsockname()[1]}")
        if inspect.isawaitable(called):
            await called
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await system.read_model.stop()
        server.should_exit = True
        await serving
    if system.processor.abandoned:
        # A handler that does not end when told to would keep the process alive for ever: asyncio
        # waits for its task, Python for its thread. All is recorded and closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: this process has one way to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets=sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def, override]
        """Leave the signals alone."""
        yield


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        ) from error
    listener.setblocking(False)
    return listener


def _one_origin(gateway: ASGIApp, read_model: ASGIApp) -> ASGIApp:
    """GET goes to the read model, all else to the gateway, as the edge proxy does in a cluster."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reads = scope["type"] == "http" and scope["method"] in _READ_METHODS
        await (read_model if reads else gateway)(scope, receive, send)

    return app


def _metrics_route(exposition: Exposition) -> Route:
    async def metrics(request: Request) -> Response:
        Parameters(request, ())
        return Response(
            await exposition.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return Route("/metrics", metrics, methods=["GET"])
