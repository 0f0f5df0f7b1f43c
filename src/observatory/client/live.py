"""Following the event log over server-sent events, across lost connections."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import httpx_sse
import msgspec

from observatory.client.errors import PositionLost
from observatory.client.records import EventRecord
from observatory.client.requests import unreachable


class Follower:
    """Where a live stream is, so that a new connection goes on after the last event seen."""

    def __init__(
        self, params: dict[str, str], patience_s: float, on_lost: Callable[[str], None] | None
    ) -> None:
        self._params = params
        self._asked = params.get("after")
        self._patience_s = patience_s
        self._on_lost = on_lost
        self._told = False
        self._silent_since = time.monotonic()
        self._pause_s = 0.1

    def connection(self) -> dict[str, Any]:
        """Arguments for the next connection. 45 s of silence are three missed pings: it is dead."""
        headers: dict[str, str] = {}
        params = dict(self._params)
        if (after := params.pop("after", None)) is not None:
            headers["last-event-id"] = after
            if after and after == self._asked:  # an empty one has always meant "from now on"
                # In the header what is no position looks like one that is lost; here it is refused.
                params["after"] = after
        timeout = httpx.Timeout(10.0, read=45.0)
        return {"params": params, "headers": headers, "timeout": timeout}

    def record(self, frame: httpx_sse.ServerSentEvent) -> EventRecord | None:
        """The event of a frame; None for a frame that carries none."""
        self._silent_since, self._pause_s = time.monotonic(), 0.1
        if frame.event == "reset":
            raise PositionLost(
                f"the events after {self._params.get('after')} are not kept any more"
            )
        if frame.id:
            self._params["after"] = frame.id
        if not frame.data:
            return None
        return EventRecord(frame.id, msgspec.json.decode(frame.data))

    def opened(self) -> None:
        """The server answered: patience starts anew."""
        self._silent_since, self._told = time.monotonic(), False

    def pause_after(self, failure: httpx.TransportError | None) -> float:
        """Seconds until the next connection; raises once nothing answered for too long."""
        if failure and time.monotonic() - self._silent_since > self._patience_s:
            raise unreachable(failure) from failure
        if failure and self._on_lost and not self._told:
            self._told = True
            self._on_lost(str(unreachable(failure)))
        self._pause_s = min(1.0, self._pause_s * 2)
        return self._pause_s


def event_params(type: str | None, subject: str | None, after: str | None) -> dict[str, str]:
    """Query parameters of the event routes."""
    given = {"type": type, "subject": subject, "after": after}
    return {name: value for name, value in given.items() if value is not None}
