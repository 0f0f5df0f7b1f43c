"""Metrics of jobs from the aggregates, at a cost that does not grow with history."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, islice
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from observatory.core.aggregates import BOUNDS_US, COUNT, OTHER, Measure, StateCount
from observatory.core.instant import MICROSECONDS
from observatory.core.job_type import JobType
from observatory.core.lifecycle import State
from observatory.runtime.metrics import PREFIX, SERIES_MAX

BUCKETS_S: Final = tuple(
    sorted({step * 10**decade for decade in range(-3, 5) for step in (1, 2.5, 5)} | {300})
)
"""Histogram bounds in seconds; each is also a bound of the finer bins, so counts are exact. 300 is
what the alert on latency asks about."""

_NAMES: Final = (*(f"{bound:g}" for bound in BUCKETS_S), "+Inf")
_BINS_UP_TO: Final = tuple(bisect_right(BOUNDS_US, round(s * MICROSECONDS)) for s in BUCKETS_S)
_BUCKET_OF_BIN: Final = tuple(bisect_right(_BINS_UP_TO, bin) for bin in range(len(BOUNDS_US) + 1))

_LABELS: Final = ("queue", "job_type")

_COUNTERS: Final = {
    "created": ("jobs_submitted", "Jobs accepted."),
    "started": ("job_attempts", "Attempts started."),
    "retried": ("job_retries", "Failed and lost attempts that will be tried again."),
    "lost": ("job_attempts_lost", "Attempts that ended because their worker was taken for dead."),
}
_OUTCOMES: Final = ("completed", "failed", "cancelled")
_HISTOGRAMS: Final = {
    "wait": ("job_queue_wait_seconds", "Time from queued to started, of each attempt."),
    "run": ("job_execution_seconds", "Time an attempt ran; not of those that were lost."),
    "end_to_end": (
        "job_end_to_end_seconds",
        "Time from accepted, or due, to completed, failed or cancelled.",
    ),
}

_Pair = tuple[str, str]


class _Sums:
    """What is told of one pair; what never happened is zero, so that a rate sees the first."""

    __slots__ = ("buckets", "counts", "states")

    def __init__(self) -> None:
        self.states: dict[str, int] = dict.fromkeys(State, 0)
        self.counts: dict[str, int] = defaultdict(int)
        self.buckets = {measure: [0] * len(_NAMES) for measure in _HISTOGRAMS}

    def add(self, measure: str, bin: int, count: int) -> None:
        if bin == COUNT:
            self.counts[measure] += count
        elif measure in self.buckets:
            self.buckets[measure][_BUCKET_OF_BIN[bin]] += count

    def grow(self, seen: "_Sums", now: "_Sums") -> None:
        """Add what `now` has more of than `seen`; nothing where it has less."""
        for measure, count in now.counts.items():
            self.counts[measure] += max(0, count - seen.counts.get(measure, 0))
        for measure, buckets in now.buckets.items():
            told, before = self.buckets[measure], seen.buckets[measure]
            for bucket, count in enumerate(buckets):
                told[bucket] += max(0, count - before[bucket])


_NOTHING: Final = _Sums()


class JobMetrics:
    """Makes the metrics of jobs; it remembers which pairs of queue and job type it has named, and
    what it has told of them.

    What is told never falls. Aggregates that are counted anew lack the jobs that are no longer
    kept; to Prometheus a counter that falls has started at zero, and all its history would count
    as of this minute ("rate()", counter resets).
    """

    def __init__(self) -> None:
        self._begun = False
        self._pairs: dict[_Pair, None] = {}
        self._seen: dict[_Pair, _Sums] = {}
        self._told: dict[_Pair, _Sums] = {}

    def make(
        self,
        states: list[StateCount] | None,
        totals: list[tuple[Measure, int]] | None,
        registered: Iterable[JobType],
    ) -> list[Metric]:
        """The families of what is known; those of what is None are left out.

        Args:
            states: jobs in each state.
            totals: the lifetime totals, whole.
            registered: the job types that are told though nothing has happened to them.
        """
        self._name(states or [], totals or [], registered)
        sums = {pair: _Sums() for pair in self._pairs}
        for row in states or []:
            self._of(sums, row.queue, row.type).states[row.state] += row.count
        for (type, queue, measure, bin), count in totals or []:
            self._of(sums, queue, type).add(measure, bin, count)
        made: list[Metric] = []
        if states is not None:
            made.append(_in_state(sums))
        if totals is not None:
            told = self._tell(sums)
            made += [*_counters(told), _finished(told), *_histograms(told)]
        return made

    def _tell(self, sums: dict[_Pair, _Sums]) -> dict[_Pair, _Sums]:
        # Of a pair that comes while this process tells, zeros are told first: a rate does not see
        # what a series begins with, and a new queue in which all jobs fail would raise no alert.
        new = sums.keys() - self._told.keys() if self._begun else set[_Pair]()
        self._begun = True
        for pair, now in sums.items():
            told = self._told.setdefault(pair, _Sums())
            if pair not in new:
                told.grow(self._seen.get(pair, _NOTHING), now)
        self._seen = {pair: now for pair, now in sums.items() if pair not in new}
        return self._told

    def _name(
        self,
        states: list[StateCount],
        totals: list[tuple[Measure, int]],
        registered: Iterable[JobType],
    ) -> None:
        weights: dict[_Pair, int] = defaultdict(int)
        for row in states:
            weights[row.queue, row.type] += row.count
        for (type, queue, measure, _), count in totals:
            if measure == "created":
                weights[queue, type] += count
        # Whoever has had a name keeps it: a counter that changes its label is told as a reset.
        named = self._pairs | dict.fromkeys((one.queue, one.name) for one in registered)
        named |= dict.fromkeys(sorted(weights, key=lambda pair: (-weights[pair], pair)))
        self._pairs = dict.fromkeys(islice(named, SERIES_MAX))

    def _of(self, sums: dict[_Pair, _Sums], queue: str, type: str) -> _Sums:
        found = sums.get((queue, type))
        return sums.setdefault((OTHER, OTHER), _Sums()) if found is None else found


def _in_state(sums: dict[_Pair, _Sums]) -> Metric:
    family = GaugeMetricFamily(
        PREFIX + "jobs_in_state", "Jobs in each state.", labels=(*_LABELS, "state")
    )
    for pair, of in sums.items():
        for state, count in of.states.items():
            family.add_metric([*pair, state], count)
    return family


def _counters(sums: dict[_Pair, _Sums]) -> list[Metric]:
    made: list[Metric] = []
    for measure, (name, text) in _COUNTERS.items():
        family = CounterMetricFamily(PREFIX + name, text, labels=_LABELS)
        for pair, of in sums.items():
            family.add_metric(pair, of.counts.get(measure, 0))
        made.append(family)
    return made


def _finished(sums: dict[_Pair, _Sums]) -> Metric:
    labels = (*_LABELS, "outcome")
    family = CounterMetricFamily(PREFIX + "jobs_finished", "Jobs that ended.", labels=labels)
    for pair, of in sums.items():
        for outcome in _OUTCOMES:
            family.add_metric([*pair, outcome], of.counts.get(outcome, 0))
    return family


def _histograms(sums: dict[_Pair, _Sums]) -> list[Metric]:
    made: list[Metric] = []
    for measure, (name, text) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(PREFIX + name, text, labels=_LABELS)
        for pair, of in sums.items():
            buckets = list(zip(_NAMES, accumulate(of.buckets[measure]), strict=True))
            family.add_metric(pair, buckets, of.counts.get(f"{measure}_us", 0) / MICROSECONDS)
        made.append(family)
    return made
