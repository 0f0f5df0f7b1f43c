"""Health: is the process alive, and is it ready."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from observatory.asgi.keys import OPEN
from observatory.asgi.parameters import Parameters
from observatory.asgi.routes import ScopedRoute

Check = Callable[[], Awaitable[str]]
"""Returns a detail when all is well, raises when not."""

_CHECK_TIMEOUT_S = 3.0


def health_routes(checks: Mapping[str, Check]) -> list[ScopedRoute]:
    """``/livez`` (the event loop turns), ``/readyz`` and ``/healthz`` (every check passes)."""

    async def live(request: Request) -> Response:
        Parameters(request, ())
        return _answer({})

    async def ready(request: Request) -> Response:
        Parameters(request, ())
        names = list(checks)
        found = await asyncio.gather(*(_run(checks[name]) for name in names))
        return _answer(dict(zip(names, found, strict=True)))

    # Probes carry no keys.
    return [
        ScopedRoute(path, endpoint, method="GET", scopes=(OPEN,))
        for path, endpoint in (("/livez", live), ("/readyz", ready), ("/healthz", ready))
    ]


async def _run(check: Check) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return {"ok": True, "detail": await check()}
    except Exception as error:
        return {"ok": False, "detail": str(error) or type(error).__name__}


def _answer(checks: dict[str, dict[str, Any]]) -> Response:
    well = all(check["ok"] for check in checks.values())
    body = {"status": "ok" if well else "failing", "checks": checks}
    return Response(
        msgspec.json.encode(body),
        200 if well else 503,
        {"Cache-Control": "no-store"},
        "application/json",
    )
