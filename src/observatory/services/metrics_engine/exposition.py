"""Exposition: the aggregates as Prometheus metrics, at a cost that does not grow with history."""

from asyncio import gather, to_thread
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator
from itertools import islice
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
    OTHER,
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

_PAIRS_MAX: Final = 200
"""Pairs of queue and job type with series of their own; each is some sixty lines. All others are
told as one, so that a scrape costs no more whatever names there ever were."""

_Pair = tuple[str, str]
_Sums = dict[tuple[_Pair, str, int], int]
"""By pair, measure and bin."""

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
        self._pairs: dict[_Pair, None] = {}
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
        return await to_thread(self._text, states, totals, log, outbox, oldest)

    def _text(
        self,
        states: tuple[list[StateCount], int] | None,
        totals: list[SeriesRow] | None,
        log: LogRange | bool | None,
        outbox: int | None,
        oldest: dict[str, int] | None,
    ) -> bytes:
        # In a thread: it is long where there are many names, and the event loop has other work.
        applied = None if states is None else states[1]
        counts, sums = self._folded([] if states is None else states[0], totals or [])
        families = [
            _build_info(),
            _backends_up(store=outbox, spine=log, aggregates=states),
            *([] if outbox is None else _of_store(outbox, oldest or {})),
            *(_of_log(log.last, applied) if isinstance(log, LogRange) else []),
            *([] if states is None else _of_states(counts, states[1])),
            *([] if totals is None else _of_totals(sums)),
        ]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(families))
        return generate_latest(registry) + generate_latest(self._process)

    def _folded(
        self, states: list[StateCount], totals: list[SeriesRow]
    ) -> tuple[dict[tuple[_Pair, str], int], _Sums]:
        """Counts and sums with the pairs beyond the limit as one."""
        weights: dict[_Pair, int] = defaultdict(int)
        for row in states:
            weights[row.queue, row.type] += row.count
        for row in totals:
            if row.key.measure == "created":
                weights[row.key.queue, row.key.type] += row.count
        # Whoever has had a name keeps it: a counter that changes its label is told as a reset.
        named = self._pairs | dict.fromkeys(sorted(weights, key=lambda p: (-weights[p], p)))
        self._pairs = dict.fromkeys(islice(named, _PAIRS_MAX))
        counts: dict[tuple[_Pair, str], int] = defaultdict(int)
        sums: _Sums = defaultdict(int)
        for row in states:
            counts[self._shown(row.queue, row.type), row.state] += row.count
        for row in totals:
            pair = self._shown(row.key.queue, row.key.type)
            sums[pair, row.key.measure, row.key.bin] += row.count
        return counts, sums

    def _shown(self, queue: str, type: str) -> _Pair:
        return (queue, type) if (queue, type) in self._pairs else (OTHER, OTHER)


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


def _of_states(states: dict[tuple[_Pair, str], int], applied: int) -> list[Metric]:
    text = "Offset up to which the aggregates are."
    return [_jobs_in_state(states), _gauge("log_applied_offset", text, applied)]


def _of_totals(totals: _Sums) -> list[Metric]:
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


def _jobs_in_state(states: dict[tuple[_Pair, str], int]) -> Metric:
    family = GaugeMetricFamily(
        "observatory_jobs_in_state", "Jobs in each state.", labels=(*_LABELS, "state")
    )
    for (pair, state), count in states.items():
        family.add_metric([*pair, state], count)
    return family


def _oldest(oldest: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(
        "observatory_oldest_ready_job_timestamp_seconds",
        "When the longest waiting job of a queue was queued.",
        labels=("queue",),
    )
    first = sorted(oldest, key=lambda queue: (oldest[queue], queue))
    shown = {queue: oldest[queue] for queue in first[:_PAIRS_MAX]}
    for queue in first[_PAIRS_MAX : _PAIRS_MAX + 1]:
        shown.setdefault(OTHER, oldest[queue])
    for queue, instant in shown.items():
        family.add_metric([queue], instant / MICROSECONDS)
    return family


def _counters(totals: _Sums) -> list[Metric]:
    submitted = CounterMetricFamily("observatory_jobs_submitted", "Jobs accepted.", labels=_LABELS)
    attempts = CounterMetricFamily("observatory_job_attempts", "Attempts started.", labels=_LABELS)
    retries = CounterMetricFamily(
        "observatory_job_retries", "Failed attempts that will be tried again.", labels=_LABELS
    )
    finished = CounterMetricFamily(
        "observatory_jobs_finished", "Jobs that ended.", labels=(*_LABELS, "outcome")
    )
    plain = {"created": submitted, "started": attempts, "retried": retries}
    for (pair, measure, _), count in totals.items():
        if measure in plain:
            plain[measure].add_metric(pair, count)
        elif measure in _FINISHED:
            finished.add_metric([*pair, _FINISHED[measure]], count)
    return [submitted, attempts, retries, finished]


def _histogram(totals: _Sums, measure: str, name: str, text: str) -> Metric:
    family = HistogramMetricFamily(f"observatory_{name}", text, labels=_LABELS)
    bins: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    sums: dict[tuple[str, str], int] = {}
    for (pair, counted, bin), count in totals.items():
        if counted == measure:
            bins[pair][bin] = count
        elif counted == f"{measure}_us" and bin == COUNT:
            sums[pair] = count
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
