"""Routes that say who may use them, and applications made of such routes only.

The scope is declared where the route is, and asked for once the route has matched: what is matched
and what is guarded are then the same, whatever a path may be made to look like.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from observatory.asgi.keys import OPEN, SCOPES, demand
from observatory.asgi.problem import exception_handlers

Endpoint = Callable[[Request], Awaitable[Response]]

_KNOWN: Final = frozenset({*SCOPES, OPEN})


class ScopedRoute(Route):
    """A route for those whose key has one of its scopes."""

    def __init__(
        self, path: str, endpoint: Endpoint, *, method: str, scopes: Iterable[str]
    ) -> None:
        """Declare a route.

        Args:
            path: of Starlette's form.
            endpoint: answers.
            method: of HTTP; GET brings HEAD with it.
            scopes: any one of these is enough, and so is ``admin``; `OPEN` for everybody.
        """
        self.scopes = frozenset(scopes)
        if not self.scopes or not self.scopes <= _KNOWN:
            raise ValueError(f"{path} must have scopes of {', '.join(sorted(_KNOWN))}")
        super().__init__(path, endpoint, methods=[method])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse who may not ask."""
        scope["observatory.route"] = self.path_format
        if scope["method"] in (self.methods or ()):  # any other is answered 405
            demand(scope, self.scopes)
        await super().handle(scope, receive, send)


def application(
    routes: Sequence[BaseRoute], origin: Sequence[BaseRoute] | None = None
) -> Starlette:
    """An ASGI application of scoped routes; any other is refused.

    Args:
        routes: what it answers.
        origin: every route of the origin that it shares with others, to tell a wrong method from
            a wrong path.
    """
    for route in routes:
        if not isinstance(route, ScopedRoute):
            raise TypeError(f"{route} does not say which scope it needs")
    app = Starlette(routes=routes, exception_handlers=exception_handlers(origin or routes))
    app.router.redirect_slashes = False
    return app
