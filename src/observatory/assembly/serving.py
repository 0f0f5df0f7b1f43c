"""Serving: one process, its socket and its signals, from start to drained."""

import asyncio
import contextlib
import gc
import inspect
import os
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import uvicorn

from observatory.asgi.connection import BoundedHeadProtocol
from observatory.asgi.keys import LOOPBACK_NAMES, read_keys
from observatory.assembly.descriptors import Descriptors
from observatory.assembly.stopping import Stopping
from observatory.assembly.system import Service, running, service_name
from observatory.core.application import Observatory
from observatory.core.errors import ConfigurationError
from observatory.runtime import failpoints
from observatory.runtime.telemetry import configure_logging
from observatory.runtime.tracing import exporting
from observatory.settings import Settings

_CLOSE_S = 5
_SWITCH_INTERVAL_S = 0.0005
"""Handlers that compute in threads share the interpreter with the event loop. With Python's 5 ms
for each of 32 threads, the loop would come to turn only every 160 ms."""


async def serve(
    application: Observatory,
    settings: Settings,
    *,
    services: frozenset[Service],
    page: Path | None,
    on_ready: Callable[[str], Awaitable[None] | None],
    on_stopping: Callable[[int], None] = lambda running: None,
) -> int:
    """Run services in this process until SIGTERM or SIGINT; returns the exit code.

    A second signal ends the process at once; what ran is then run again at the next start. So
    does, in the end, an event loop that a handler blocks for good.

    Args:
        application: whose job types are run.
        settings: the address and port to listen on, and the backends.
        services: which of the services; all of them for the whole system.
        page: the folder of the built page, or None.
        on_ready: called with the base URL once requests are answered.
        on_stopping: called with the number of runs under way when the end has been asked for.

    Raises:
        ConfigurationError: a setting, a backend, the address or the port cannot be used.
    """
    host, port = settings.host, settings.port
    service = service_name(services)
    configure_logging(settings.log_level, service)
    failpoints.arm(settings.failpoints)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if host not in LOOPBACK_NAMES and not read_keys(settings.api_keys.get_secret_value()):
        raise ConfigurationError(
            f"refusing to listen on {host} without keys: set OBSERVATORY_API_KEYS "
            "(`observatory keys` makes one), or listen on 127.0.0.1"
        )
    stop = Stopping(settings.grace_seconds)
    async with (
        # First: a start that cannot listen must not have rescued and promoted anything.
        _bound(host, port) as listener,
        exporting(service),
        _watched(),
        running(application, settings, services, page) as system,
    ):
        config = uvicorn.Config(
            system.app,
            http=BoundedHeadProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody says yet which proxies could be believed
            lifespan="off",
            timeout_graceful_shutdown=_CLOSE_S,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        await _until_ready(server, serving)
        _spare_what_stays()
        shown = f"[{host}]" if ":" in host else host
        called = on_ready(f"http://{shown}:{listener.getsockname()[1]}")
        if inspect.isawaitable(called):
            await called
        stopping = asyncio.create_task(stop.asked())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        on_stopping(system.running)
        if not serving.done():
            await system.drain()  # heard all the while: probes, readers, whoever submits
        await system.end_streams()
        server.should_exit = True
        await serving
    if system.abandoned:
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


def _spare_what_stays() -> None:
    """Keep the collector from what was made so far: modules, contracts and routes stay for good,
    and looking through all of it takes tens of milliseconds in which nothing else is done."""
    gc.collect()
    gc.freeze()


async def _until_ready(server: _Server, serving: "asyncio.Task[None]") -> None:
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if serving.done():
        await serving  # raises what kept it from listening
        raise ConfigurationError("the HTTP server ended before it listened")


@contextlib.asynccontextmanager
async def _bound(host: str, port: int) -> AsyncGenerator[socket.socket]:
    with _bind(host, port) as listener:
        yield listener


@contextlib.asynccontextmanager
async def _watched() -> AsyncGenerator[None]:
    descriptors = Descriptors().loop
    descriptors.start()
    try:
        yield
    finally:
        await descriptors.stop()


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
