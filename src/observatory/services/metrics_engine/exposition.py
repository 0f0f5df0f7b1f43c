"""Exposition: the aggregates as Prometheus metrics, at a cost that does not grow with history."""

from asyncio import gather
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector

from observatory import __version__
from observatory.core.aggregates import (
    ALL_TIME,
    BOUNDS_US,
    COUNT,
    Aggregates,
    SeriesRow,
    StateCount,
)
from observatory.core.errors import ObservatoryError
from observatory.core.instant import MICROSECONDS
from observatory.core.spine import LogRange, Spine
from observatory.core.store import StoreReads

T = TypeVar("T")

BUCKETS_S: Final = tuple(step * 10**decade for decade in range(-3, 5) for step in (1, 2.5, 5))
"""Histogram bounds in seconds; each is also a bound of the finer bins, so counts are exact."""

_LABELS: Final = ("queue", "job_type")

_FINISHED: Final = {"completed": "completed", "failed": "failed", "cancelled": "cancelled"}


class Exposition:
    """Makes the text of ``GET /metrics``."""

    def __init__(
        self, store: StoreReads, spine: Spine, aggregates: Aggregates, *, follows: bool = True
    ) -> None:
        """`follows`: whether this process follows the log, and so may be asked where it ends."""
        self._store = store
        self._spine = spine
        self._follows = follows
        self._aggregates = aggregates
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    async def _log(self) -> LogRange | bool:
        """What the log holds; True where only its being there is to be told."""
        if self._follows:
            return await self._spine.log_range()
        await self._spine.check()
        return True

    async def render(self) -> bytes:
        """Prometheus text format 0.0.4."""
        states, totals, log, outbox, oldest = await gather(
            _if_it_answers(self._aggregates.states()),
            _if_it_answers(self._aggregates.series(ALL_TIME, 0)),
            _if_it_answers(self._log()),
            _if_it_answers(self._store.outbox_backlog()),
            _if_it_answers(self._store.oldest_queued()),
        )
        applied = None if states is None else states[1]
        families = [
            _build_info(),
            _backends_up(store=outbox, spine=log, aggregates=states),
            *([] if outbox is None else _of_store(outbox, oldest or {})),
            *(_of_log(log.last, applied) if isinstance(log, LogRange) else []),
            *([] if states is None else _of_states(*states)),
            *([] if totals is None else _of_totals(totals)),
        ]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(families))
        return generate_latest(registry) + generate_latest(self._process)


async def _if_it_answers(reading: Awaitable[T]) -> T | None:
    """What was read, or None where the backend does not answer: then its metrics are absent, and
    those of the others, and of the process, are there all the same."""
    try:
        return await reading
    except ObservatoryError:
        return None


def _backends_up(**answers: object) -> Metric:
    family = GaugeMetricFamily(
        "observatory_backend_up",
        "1 where the backend answered this scrape, 0 where not.",
        labels=("backend",),
    )
    for backend, answer in answers.items():
        family.add_metric([backend], answer is not None)
    return family


def _of_store(outbox: int, oldest: dict[str, int]) -> list[Metric]:
    return [_gauge("outbox_pending", "Commits waiting to be published.", outbox), _oldest(oldest)]


def _of_log(last: int, applied: int | None) -> list[Metric]:
    found = [_gauge("log_last_offset", "Offset of the newest message in the event log.", last)]
    if applied is not None:
        lag = last - applied
        found.append(_gauge("projection_lag_messages", "Log messages not applied yet.", lag))
    return found


def _of_states(states: list[StateCount], applied: int) -> list[Metric]:
    text = "Offset up to which the aggregates are."
    return [_jobs_in_state(states), _gauge("log_applied_offset", text, applied)]


def _of_totals(totals: list[SeriesRow]) -> list[Metric]:
    return [
        *_counters(totals),
        _histogram(totals, "wait", "job_queue_wait_seconds", "Time from queued to started."),
        _histogram(totals, "run", "job_execution_seconds", "Time an attempt ran."),
    ]


class _Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _build_info() -> Metric:
    family = GaugeMetricFamily("observatory_build_info", "What is running.", labels=("version",))
    family.add_metric([__version__], 1)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"observatory_{name}", text, value=value)


def _jobs_in_state(states: list[StateCount]) -> Metric:
    family = GaugeMetricFamily(
        "observatory_jobs_in_state", "Jobs in each state.", labels=(*_LABELS, "state")
    )
    for row in states:
        family.add_metric([row.queue, row.type, row.state], row.count)
    return family


def _oldest(oldest: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(
        "observatory_oldest_ready_job_timestamp_seconds",
        "When the longest waiting job of a queue was queued.",
        labels=("queue",),
    )
    for queue, instant in oldest.items():
        family.add_metric([queue], instant / MICROSECONDS)
    return family


def _counters(totals: list[SeriesRow]) -> list[Metric]:
    submitted = CounterMetricFamily("observatory_jobs_submitted", "Jobs accepted.", labels=_LABELS)
    attempts = CounterMetricFamily("observatory_job_attempts", "Attempts started.", labels=_LABELS)
    retries = CounterMetricFamily(
        "observatory_job_retries", "Failed attempts that will be tried again.", labels=_LABELS
    )
    finished = CounterMetricFamily(
        "observatory_jobs_finished", "Jobs that ended.", labels=(*_LABELS, "outcome")
    )
    plain = {"created": submitted, "started": attempts, "retried": retries}
    for row in totals:
        labels = [row.key.queue, row.key.type]
        if row.key.measure in plain:
            plain[row.key.measure].add_metric(labels, row.count)
        elif row.key.measure in _FINISHED:
            finished.add_metric([*labels, _FINISHED[row.key.measure]], row.count)
    return [submitted, attempts, retries, finished]


def _histogram(totals: list[SeriesRow], measure: str, name: str, text: str) -> Metric:
    family = HistogramMetricFamily(f"observatory_{name}", text, labels=_LABELS)
    bins: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    sums: dict[tuple[str, str], int] = {}
    for row in totals:
        labels = (row.key.queue, row.key.type)
        if row.key.measure == measure:
            bins[labels][row.key.bin] = row.count
        elif row.key.measure == f"{measure}_us" and row.key.bin == COUNT:
            sums[labels] = row.count
    for labels, counts in bins.items():
        family.add_metric(list(labels), _cumulative(counts), sums.get(labels, 0) / MICROSECONDS)
    return family


def _cumulative(counts: dict[int, int]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    for bound_s in BUCKETS_S:
        upto = bisect_right(BOUNDS_US, round(bound_s * MICROSECONDS))
        buckets.append((f"{bound_s:g}", sum(n for bin, n in counts.items() if bin < upto)))
    buckets.append(("+Inf", sum(counts.values())))
    return buckets
