"""The HTTP connection below ASGI: a request's head is bounded in size and in time, and names one
host.

uvicorn's httptools protocol bounds neither, so one client could fill the memory with a header
that never ends, or hold connections open for ever (slowloris). Of two Host headers a proxy may
heed one and we the other.
"""

import asyncio
from typing import Any, Final

import uuid_utils
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from observatory.asgi.problem import problem_response
from observatory.core.errors import MalformedRequest

_HEAD_BYTES_MAX: Final = 64 * 1024
_HEAD_TIMEOUT_S: Final = 15.0


class BoundedHeadProtocol(HttpToolsProtocol):
    """Refuses a head that is too large or names no one host, and hangs up on one that does not
    end."""

    _in_head = True
    _refused = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head before it is parsed."""
        if self._in_head:
            self._head_bytes += len(data)
            self._start_head_timer()
        # What follows the head in the same piece is not counted twice: pieces are small.
        if self._in_head and self._head_bytes > _HEAD_BYTES_MAX + len(data):
            self._refuse()
            return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_head_timer()
        self._in_head = False
        too_large = sum(len(n) + len(v) for n, v in self.headers) + len(self.url) > _HEAD_BYTES_MAX
        if too_large:
            self._refuse()
        elif fault := self._fault_of_host():
            self.send_400_response(fault)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body, unless it belongs to what was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head may begin."""
        self._in_head = True
        self._head_bytes = 0
        if not self._refused:
            super().on_message_complete()

    def _fault_of_host(self) -> str | None:
        """Why its Host headers are not acceptable (RFC 9112, section 3.2)."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1:
            return "a request has one Host header, not several"
        parser: Any = self.parser
        if hosts == 0 and parser.get_http_version() != "1.0":
            return "a request has a Host header"
        return None

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_TIMEOUT_S, self._refuse)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request as every other fault is answered, and hang up."""
        self._refused = True
        if self.transport.is_closing():
            return
        response = problem_response(MalformedRequest(msg), "/", str(uuid_utils.uuid7()))
        head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\n"
            + head
            + b"connection: close\r\n\r\n"
            + bytes(response.body)
        )
        self.transport.close()

    def _refuse(self) -> None:
        self._stop_head_timer()
        self.send_400_response("the head of the request is too large, or did not end in time")
