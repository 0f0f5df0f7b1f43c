"""How both clients connect: address, key, and the arguments httpx takes."""

import os
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from observatory.client.requests import Request
from observatory.runtime.tracing import current_ids

DEFAULT_URL: Final = "http://127.0.0.1:8080"
"""Where `observatory up` listens when nothing else is said."""

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""This machine, under its own names."""

DEFAULT_PATIENCE_S: Final = 5.0
"""How long to go on trying, where that is safe, while nothing answers: a restart takes 2 s."""


def connection(url: str | None, key: str | None) -> dict[str, Any]:
    """What both httpx clients are made with."""
    url = url or os.environ.get("OBSERVATORY_URL") or DEFAULT_URL
    key = key or os.environ.get("OBSERVATORY_API_KEY")
    host = _host(url)
    if key and not all("!" <= character <= "~" for character in key):
        # Said here, as httpx would show the key, and as nothing was wrong with the connection.
        raise ValueError(
            "the API key must be visible ASCII characters alone: no blank, no end of line"
        )
    return {
        "base_url": url,
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        # A proxy from the environment knows nothing of this machine's own loopback.
        "trust_env": host not in LOOPBACK,
    }


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.port != 0 and parts.hostname  # reading the port checks it
    except ValueError:
        host = None
    else:
        host = host if parts.scheme in ("http", "https") else None
    if not host:
        raise ValueError(f"the URL must look like {DEFAULT_URL}, got {url!r}")
    return host


def arguments(request: Request) -> dict[str, Any]:
    """A request as the keyword arguments of httpx."""
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params),
        "headers": {**_current_trace(), **request.headers},
        "content": request.content,
        "timeout": httpx.Timeout(request.timeout_s, connect=min(10.0, request.timeout_s)),
    }


def _current_trace() -> dict[str, str]:
    """The headers by which the server goes on with the caller's trace, if there is one."""
    headers: dict[str, str] = {}
    if current_ids() is not None:
        from opentelemetry import propagate

        propagate.inject(headers)
    return headers
