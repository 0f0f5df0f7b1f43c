"""A span for each request that changes something, in the trace that its caller names."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from observatory.core.trace_context import read_trace_context
from observatory.runtime.tracing import active

_READ_METHODS: Final = frozenset({"GET", "HEAD"})
_CHARS_MAX: Final = 200
"""Of what a caller may choose."""


class Traced:
    """Traces requests while tracing is on. Those that only read have no part in a job's life, and
    a page that is open reads all the time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        spans = active()
        if spans is None or scope["type"] != "http" or scope["method"] in _READ_METHODS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent = read_trace_context(headers.get("traceparent"), headers.get("tracestate"))
        with spans.request(scope["method"], _about(scope, headers), sent) as span:

            async def send_and_tell(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.routed(scope.get("observatory.route"))
                    span.answered(message["status"])
                await send(message)

            await self.app(scope, receive, send_and_tell)


def _about(scope: Scope, headers: Headers) -> dict[str, str | int]:
    about: dict[str, str | int] = {
        "url.scheme": scope["scheme"],
        "url.path": scope["path"][:_CHARS_MAX],
    }
    if (server := scope.get("server")) is not None:
        about["server.address"] = server[0]
        if server[1] is not None:
            about["server.port"] = server[1]
    if (client := scope.get("client")) is not None:
        about["client.address"] = client[0]
    if (agent := headers.get("user-agent")) is not None:
        about["user_agent.original"] = agent[:_CHARS_MAX]
    return about
