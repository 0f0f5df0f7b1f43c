"""Serving from the command line: settings from flags and environment, and one event loop."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from observatory.interfaces.cli.output import TABLE, Mistake, Output, say

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from observatory import Observatory
    from observatory.assembly.system import Service
    from observatory.settings import Settings


def read_settings(
    *, host: str | None = None, port: int | None = None, data: Path | None = None
) -> "Settings":
    """The settings of the environment, with what was given on the command line.

    Raises:
        Mistake: one of them cannot be.
    """
    if port is not None and not 0 <= port <= 65535:
        raise Mistake(f"a port is a number from 0 to 65535, not {port}")
    given = {"host": host, "port": port, "data": data}
    return _settings({name: value for name, value in given.items() if value is not None})


def _settings(given: dict[str, Any]) -> "Settings":
    from pydantic import ValidationError

    from observatory.settings import Settings, unknown_settings, wrong_settings

    if unknown := unknown_settings(os.environ):
        print(f"observatory: no such setting, not heeded: {', '.join(unknown)}", file=sys.stderr)
    try:
        return Settings(**given)
    except ValidationError as error:
        raise Mistake("; ".join(wrong_settings(error))) from error


def run_services(
    application: "Observatory",
    settings: "Settings",
    services: "frozenset[Service]",
    on_ready: Callable[[str], None],
    *,
    output: Output = TABLE,
) -> int:
    """Serve until the process is told to end; returns the exit code. For programs nothing is
    printed but one document, once it is ready."""
    from observatory.assembly.serving import serve

    def announce(url: str) -> None:
        if output.structured:
            output.print_line(served(application, settings, services, url))
        on_ready(url)

    def on_stopping(running: int) -> None:
        if output.structured:
            return
        runs = "1 run has" if running == 1 else f"{running} runs have"
        wait = f"{runs} {settings.grace_seconds:g} s to end; " if running else ""
        say(f"stopping; {wait}a second Ctrl-C or SIGTERM ends it at once")
        sys.stdout.flush()

    return _run(
        serve(
            application,
            settings,
            services=services,
            page=built_page(),
            on_ready=announce,
            on_stopping=on_stopping,
        )
    )


def _run(system: "Coroutine[Any, Any, int]") -> int:
    """On uvloop where there is one."""
    try:
        from uvloop import run
    except ImportError:  # there is none for Windows
        from asyncio import run
    return run(system)


def built_page() -> Path | None:
    """The built page; a checkout that was never built serves the APIs without it."""
    page = Path(__file__).parent.parent / "web" / "dist"
    return page if (page / "index.html").is_file() else None


def describe_backends(settings: "Settings") -> str:
    """Where the data goes; of URLs neither user nor password is shown."""
    urls = [settings.spine_url, settings.store_url, settings.aggregates_url]
    shown = [without_secrets(url.get_secret_value()) for url in urls if url.get_secret_value()]
    if len(shown) < len(urls):
        shown.append(str(settings.data))
    return ", ".join(shown)


def served(
    application: "Observatory", settings: "Settings", services: "frozenset[Service]", url: str
) -> dict[str, Any]:
    """What is served and where, for programs."""
    url = url.rstrip("/")
    types = [handler.job_type for handler in application.handlers.values()]
    backends = {
        "spine": settings.spine_url,
        "store": settings.store_url,
        "aggregates": settings.aggregates_url,
    }
    return {
        "url": url,
        "page": f"{url}/" if built_page() and "read-model" in services else None,
        "pid": os.getpid(),
        "services": sorted(services),
        "backends": {
            name: without_secrets(given.get_secret_value()) if given.get_secret_value() else None
            for name, given in backends.items()
        },
        "data": None
        if all(given.get_secret_value() for given in backends.values())
        else str(settings.data),
        "jobTypes": {one.name: one.queue for one in sorted(types, key=lambda one: one.name)},
    }


def without_secrets(url: str) -> str:
    """A URL as it may be shown: neither user nor password."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        # Where the port would be there may be a piece of the password.
        return f"{parts.scheme}://…"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
