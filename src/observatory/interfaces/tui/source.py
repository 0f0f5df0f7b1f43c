"""Where the terminal's views come from: the HTTP interface, read again and again while shown."""

import asyncio
import time
from typing import Any, Final

from observatory.client import AsyncClient, ObservatoryError, Unreachable

_EVENTS_KEPT: Final = 500
_VALUES_KEPT: Final = 50
_PAUSE_S: Final = 1.0


class Source:
    """Reads routes; remembers what was read last, since when that is old, and why."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.values: dict[str, Any] = {}
        """By route: the last answer. A request that failed leaves it as it was."""
        self._troubles: dict[str, str] = {}
        """By route: why it was not answered."""
        self.unreachable = False
        """Whether that was because nobody answered."""
        self.read_at: float | None = None
        """When anything was last read, by the monotonic clock."""
        self.latency_s: float | None = None
        self.events: list[dict[str, Any]] = []
        """The newest events, the newest first."""
        self.live = False
        self.news = asyncio.Event()
        """Something happened since this was cleared."""

    async def read(self, route: str, params: dict[str, str] | None = None) -> Any:
        """What a route answers now; what it answered last where it does not answer."""
        key = route if not params else f"{route}?{sorted(params.items())}"
        began = time.monotonic()
        try:
            self.values[key] = await self.client.read(route, params)
        except ObservatoryError as error:
            self._troubles[route] = str(error)
            self.unreachable = isinstance(error, Unreachable)
        else:
            self._troubles.pop(route, None)
            self.read_at = time.monotonic()
            self.latency_s = self.read_at - began
            # The newest last; what was looked at long ago is not kept for ever.
            self.values[key] = self.values.pop(key)
            while len(self.values) > _VALUES_KEPT:
                del self.values[next(iter(self.values))]
        return self.values.get(key)

    @property
    def trouble(self) -> str | None:
        """Why something that is shown could not be read; None where all could."""
        return next(iter(self._troubles.values()), None)

    def looked_away(self) -> None:
        """Another view is opened: what the last one lacked is no trouble of it."""
        self._troubles.clear()

    async def follow(self) -> None:
        """Follow the events until cancelled, over restarts of the server."""
        known: set[str] = set()
        while True:
            try:
                async for record in self.client.events(follow=True, on_lost=lambda _: self._lost()):
                    self.live = True
                    event = record.event
                    if event["id"] in known:
                        continue
                    known.add(event["id"])
                    self.events.insert(0, event)
                    for old in self.events[_EVENTS_KEPT:]:
                        known.discard(old["id"])
                    del self.events[_EVENTS_KEPT:]
                    self.news.set()
            except ObservatoryError:
                pass
            self._lost()
            await asyncio.sleep(_PAUSE_S)

    def _lost(self) -> None:
        self.live = False
