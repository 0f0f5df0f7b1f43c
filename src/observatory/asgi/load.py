"""Load: how many requests, and how many bytes of their bodies, are under way at once.

A body stays in memory, and what was read from it, until its request is answered; without a limit to
all of them together, a limit to each is none.
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from observatory.asgi.problem import problem_response
from observatory.core.errors import Overloaded

_ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
"""What whoever looks after the process asks must be answered most of all when it is loaded."""

_AGAIN_AFTER_S: Final = 1


class Load:
    """What is under way in a process, over all of its applications."""

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._requests = 0
        self._bytes = 0

    def bound(self, app: ASGIApp) -> ASGIApp:
        """The application, refusing with 503 what goes beyond the limits."""
        return _Bounded(app, self)

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer a request, if it may."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS_ANSWERED:
            await app(scope, receive, send)
        elif self._requests >= self._requests_max:
            problem = _too_much(f"{self._requests} requests are under way")
            request_id = scope["observatory.correlation_id"]
            await problem_response(problem, scope["path"], request_id)(scope, receive, send)
        else:
            await self._counted(app, scope, receive, send)

    async def _counted(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        held = 0

        async def weighed() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            others = self._bytes - held
            # What came is counted, not what was announced: whoever sends nothing holds up nobody.
            # One alone is let in, whatever its size; its route has a limit of its own.
            if size and others and self._bytes + size > self._bytes_max:
                raise _too_much(f"bodies of {self._bytes} bytes are under way")
            held += size
            self._bytes += size
            return message

        self._requests += 1
        try:
            await app(scope, weighed, send)
        finally:
            self._requests -= 1
            self._bytes -= held


class _Bounded:
    def __init__(self, app: ASGIApp, load: Load) -> None:
        self.app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._load.answer(self.app, scope, receive, send)


def _too_much(what: str) -> Overloaded:
    return Overloaded(f"{what}, as much as may be; send again later", retry_after_s=_AGAIN_AFTER_S)
