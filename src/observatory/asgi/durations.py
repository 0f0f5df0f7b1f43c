"""How long requests took, by method, route and class of status."""

import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS_S: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Of OpenTelemetry's http.server.request.duration."""

OTHER: Final = "other"
"""The route of what has none, or was refused before one was looked for; the method of none that is
known. What a client makes up must not become a series."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STREAM: Final = b"text/event-stream"


class Durations:
    """Counts requests of a process, over all of its applications."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str, str], list[int]] = {}
        self._sums: dict[tuple[str, str, str], float] = {}

    def measure(self, app: ASGIApp) -> ASGIApp:
        """The application, with its requests measured from their heads to the last byte of their
        answers; a stream, which ends when its reader does, to its head."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = self._clock()
            status: int | None = None
            streams = False

            async def send_and_see(message: Message) -> None:
                nonlocal status, streams
                if message["type"] == "http.response.start":
                    status = message["status"]
                    if streams := _is_stream(message):
                        self._add(scope, message["status"], began)
                await send(message)

            try:
                await app(scope, receive, send_and_see)
            except Exception:
                status = status or 500  # what the server answers where nothing was
                raise
            finally:
                # Without a status nobody was answered: the client had gone.
                if status is not None and not streams:
                    self._add(scope, status, began)

        return measured

    def _add(self, scope: Scope, status: int, began: float) -> None:
        seconds = self._clock() - began
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        key = (method, scope.get("observatory.route", OTHER), f"{status // 100}xx")
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0] * (len(BOUNDS_S) + 1)
        counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + seconds

    def metrics(self) -> list[Metric]:
        """What was counted."""
        family = HistogramMetricFamily(
            "observatory_http_request_duration_seconds",
            "How long requests took, to the last byte of the answer.",
            labels=("method", "route", "status_class"),
        )
        for key, counts in self._counts.items():
            names = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")
            buckets = list(zip(names, accumulate(counts), strict=True))
            family.add_metric(key, buckets, self._sums[key])
        return [family]


def _is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(_STREAM)
        for name, value in start["headers"]
    )
