"""Metrics of a process and of the system, and one scrape of them.

What a process counts by itself is told at once; what a backend has to be asked for is asked, all
backends together. One that does not answer takes only its own metrics along: they are absent, and
those of the others are there all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from observatory.core.errors import ObservatoryError
from observatory.core.instant import MICROSECONDS

T = TypeVar("T")

PREFIX: Final = "observatory_"

SERIES_MAX: Final = 200
"""Names with series of their own, whether pairs of queue and job type or queues. All others are
told as one, or not at all, so that a scrape costs no more whatever names there ever were."""

ANSWER_WITHIN_S: Final = 5.0
"""Prometheus waits ten seconds for all of a scrape, unless it is told otherwise."""


class Scrape:
    """One scrape: which backends were asked for it, and whether they answered."""

    def __init__(self) -> None:
        self.up: dict[str, bool] = {}

    async def ask(self, backend: str, question: Awaitable[T]) -> T | None:
        """The answer of a backend, or None where it gives none in time."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await question
        except (ObservatoryError, TimeoutError):
            self.up[backend] = False
            return None
        self.up.setdefault(backend, True)
        return answer


Counted = Callable[[], Iterable[Metric]]
"""Tells what a process knows by itself."""

Asked = Callable[[Scrape], Awaitable[Iterable[Metric]]]
"""Tells what it asks the backends for."""


class Exposition:
    """Makes the text of ``GET /metrics``."""

    def __init__(
        self, registry: CollectorRegistry, counted: Sequence[Counted], asked: Sequence[Asked]
    ) -> None:
        """`registry` has what prometheus-client itself collects of the process."""
        self._registry = registry
        self._counted = counted
        self._asked = asked

    async def render(self) -> bytes:
        """Prometheus text format 0.0.4."""
        scrape = Scrape()
        found = await asyncio.gather(*(source(scrape) for source in self._asked))
        families = [family for source in self._counted for family in source()]
        families += [family for answer in found for family in answer]
        families.append(_backends_up(scrape.up))
        # In a thread: it is long where there are many names, and the event loop has other work.
        return await asyncio.to_thread(_text, families, self._registry)


class _Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _text(families: list[Metric], registry: CollectorRegistry) -> bytes:
    made = CollectorRegistry(auto_describe=False)
    made.register(_Families(families))
    return generate_latest(made) + generate_latest(registry)


def _backends_up(up: Mapping[str, bool]) -> Metric:
    text = "1 where the backend answered this scrape, 0 where not."
    return labelled("backend_up", text, "backend", up)


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """A gauge with one label."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def timestamp(name: str, text: str, at: int | None) -> Metric:
    """A gauge that tells an instant; without a sample where there is none, since every number
    would be a time."""
    family = GaugeMetricFamily(f"{PREFIX}{name}_timestamp_seconds", text)
    if at is not None:
        family.add_metric([], at / MICROSECONDS)
    return family


def timestamps(name: str, text: str, label: str, instants: Mapping[str, int]) -> Metric:
    """A gauge with one label that tells instants."""
    seconds = {value: at / MICROSECONDS for value, at in instants.items()}
    return labelled(f"{name}_timestamp_seconds", text, label, seconds)


def counter(name: str, text: str, value: float) -> Metric:
    """A counter without labels; its name goes without ``_total``."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def labelled_counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """A counter with one label; its name goes without ``_total``."""
    family = CounterMetricFamily(PREFIX + name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric([value], number)
    return family
