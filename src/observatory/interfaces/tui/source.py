"""Where the terminal's views come from: the HTTP interface, read again and again while shown."""

import asyncio
import time
from typing import Any, Final, cast

from observatory.client import AsyncClient, ObservatoryError, Refused, Unreachable
from observatory.interfaces.cli.output import behind

_EVENTS_KEPT: Final = 500
_EVENTS_FIRST: Final = 100
_VALUES_KEPT: Final = 50
_PAUSE_S: Final = 1.0
_HANGS_S: Final = 3.0
"""Who has not answered for as long is not waited for in silence."""
_OLD_S: Final = 5.0
"""Numbers that are further behind the event log are said to be, as on the page."""


class Source:
    """Reads routes; remembers what was read last, since when that is old, and why."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.values: dict[str, Any] = {}
        """By route: the last answer. A request that failed leaves it as it was."""
        self._read_at: dict[str, float] = {}
        """By route: when it was last answered, by the monotonic clock."""
        self._troubles: dict[str, str] = {}
        """By route: why it was not answered."""
        self._asked: dict[object, tuple[str, float]] = {}
        """By question: the route, and since when an answer is waited for."""
        self._glance = 0
        """Which view is looked at; what was asked for the one before is no matter of this one."""
        self._old: dict[str, str] = {}
        """By route: how old the numbers are that were answered, or that some are missing."""
        self._absent: dict[str, str] = {}
        """By route: what the system says of what is not there."""
        self.unreachable = False
        """Whether that was because nobody answered."""
        self.by_another = False
        """Whether something answered that is no observatory."""
        self.read_at: float | None = None
        """When anything was last read."""
        self.latency_s: float | None = None
        self.events: list[dict[str, Any]] = []
        """The newest events, the newest first."""
        self._known: set[str] = set()
        self.live = False
        self.news = asyncio.Event()
        """Something happened since this was cleared."""

    async def read(self, route: str, params: dict[str, str] | None = None) -> Any:
        """What a route answers now; what it answered last where it does not answer."""
        key = route if not params else f"{route}?{sorted(params.items())}"
        began, glance, question = time.monotonic(), self._glance, object()
        self._asked[question] = (key, began)
        try:
            self.values[key] = await self.client.read(route, params)
        except ObservatoryError as error:
            self._failed(key, error, shown=glance == self._glance)
        else:
            self._troubles.pop(key, None)
            self._absent.pop(key, None)
            self._old.pop(key, None)
            if glance == self._glance and (old := _age_of(self.values[key])):
                self._old[key] = old
            self._read_at.pop(key, None)
            self._read_at[key] = self.read_at = time.monotonic()
            self.latency_s = self.read_at - began
            # The newest last; what was looked at long ago is not kept for ever.
            self.values[key] = self.values.pop(key)
            while len(self.values) > _VALUES_KEPT:
                oldest = next(iter(self.values))
                del self.values[oldest]
                self._read_at.pop(oldest, None)
        finally:
            self._asked.pop(question, None)
        return self.values.get(key)

    def _failed(self, key: str, error: ObservatoryError, *, shown: bool) -> None:
        self.unreachable = isinstance(error, Unreachable)
        self.by_another = isinstance(error, Unreachable) and error.by_another
        if not shown:
            return
        if isinstance(error, Refused) and error.status in (400, 404, 410):
            # An answer like any other, and no sign that what is shown is old.
            self._absent[key] = str(error)
            self._troubles.pop(key, None)
            self.values.pop(key, None)
        else:
            self._troubles[key] = str(error)

    def absent(self, route: str) -> str | None:
        """What the system says where there is nothing at a route; None where there may be."""
        return self._absent.get(route)

    @property
    def trouble(self) -> str | None:
        """Why something that is shown could not be read; None where all could."""
        if told := next(iter(self._troubles.values()), None):
            return told
        return f"{self.client.url} does not answer" if self._hanging() else None

    @property
    def trouble_age_s(self) -> float | None:
        """How old what is shown in its place is; None where nothing is."""
        lacking = {*self._troubles, *self._hanging()}
        ages = [self._read_at[key] for key in lacking if key in self._read_at]
        return time.monotonic() - min(ages) if ages else None

    def _hanging(self) -> list[str]:
        late = time.monotonic() - _HANGS_S
        return [key for key, began in self._asked.values() if began < late]

    @property
    def old(self) -> str | None:
        """How old the numbers are that are shown; None where they are not."""
        return next(iter(self._old.values()), None)

    def looked_away(self) -> None:
        """Another view is opened: what the last one lacked is no trouble of it."""
        self._glance += 1
        self._troubles.clear()
        self._old.clear()
        self._absent.clear()

    async def follow(self) -> None:
        """Follow the events until cancelled, over restarts of the server."""
        while True:
            try:
                latest = await self.client.read("/events", {"limit": str(_EVENTS_FIRST)})
                for one in reversed(latest["items"]):
                    self._heard(one["event"])
                async for record in self.client.events(follow=True, on_lost=lambda _: self._lost()):
                    self.live = True
                    self._heard(record.event)
            except ObservatoryError:
                pass
            self._lost()
            await asyncio.sleep(_PAUSE_S)

    def _heard(self, event: dict[str, Any]) -> None:
        if event["id"] in self._known:
            return
        self._known.add(event["id"])
        self.events.insert(0, event)
        for old in self.events[_EVENTS_KEPT:]:
            self._known.discard(old["id"])
        del self.events[_EVENTS_KEPT:]
        self.news.set()

    def _lost(self) -> None:
        self.live = False


def _age_of(answer: Any) -> str | None:
    """What is to be said of numbers that are old or not complete; None of others, and of what is
    not taken from the event log."""
    if not isinstance(answer, dict) or "lagSeconds" not in answer:
        return None
    told = cast("dict[str, Any]", answer)
    whole = told["complete"] and not told["rebuilding"]
    return None if whole and told["lagSeconds"] <= _OLD_S else behind(told)
