"""The correlation id of a request: taken over, or made, and always returned."""

import re

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}\Z")


class Correlation:
    """Puts ``observatory.correlation_id`` into the scope and ``X-Correlation-Id`` on the answer.

    An id that is not 1 to 128 visible ASCII characters is replaced, since it goes into logs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-correlation-id", "")
        correlation_id = given if _ACCEPTABLE.match(given) else str(uuid_utils.uuid7())
        scope["observatory.correlation_id"] = correlation_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = correlation_id
            await send(message)

        await self.app(scope, receive, send_with_id)
