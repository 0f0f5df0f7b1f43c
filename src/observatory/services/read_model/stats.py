"""Statistics: exact counts, rates and percentiles, from the aggregates."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from observatory.core.aggregates import (
    KEPT_S,
    OTHER,
    Aggregates,
    SeriesRow,
    StateCount,
    heaviest,
    percentile,
)
from observatory.core.instant import MICROSECONDS, optional_rfc3339, seconds_between, to_rfc3339
from observatory.core.lifecycle import State
from observatory.core.store import StoreReads
from observatory.services.read_model.freshness import Freshness

_FINISHED: Final = ("completed", "failed", "cancelled")
_COUNTED: Final = ("created", "started", "completed", "failed", "retried", "cancelled")
_QUANTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_STEPS_MAX: Final = 1440
_NAMES_MAX: Final = 200
"""Job types, and queues, that are told apart; what is beyond is told as one."""


class _Group:
    """Sums over some of the series' rows."""

    __slots__ = ("bins", "counts", "states")

    def __init__(self) -> None:
        self.states: dict[str, int] = dict.fromkeys(State, 0)
        self.counts: dict[str, int] = defaultdict(int)
        self.bins: dict[str, dict[int, int]] = {"wait": {}, "run": {}}

    def add(self, row: SeriesRow) -> None:
        if (bins := self.bins.get(row.key.measure)) is not None:
            bins[row.key.bin] = bins.get(row.key.bin, 0) + row.count
        else:
            self.counts[row.key.measure] += row.count

    def merge(self, other: "_Group") -> None:
        for state, count in other.states.items():
            self.states[state] += count
        for measure, count in other.counts.items():
            self.counts[measure] += count
        for measure, bins in other.bins.items():
            own = self.bins[measure]
            for bin, count in bins.items():
                own[bin] = own.get(bin, 0) + count

    def rate(self, window_s: int, *measures: str) -> float:
        return sum(self.counts[m] for m in measures) / window_s

    def quantiles(self, measure: str) -> dict[str, float | None] | None:
        bins = self.bins[measure]
        if not bins:
            return None
        total_us = self.counts[f"{measure}_us"]
        return {name: percentile(bins, q, total_us) for name, q in _QUANTILES.items()}

    def shown(self, window_s: int) -> dict[str, Any]:
        return {
            "states": self.states,
            "createdPerSecond": self.rate(window_s, "created"),
            "finishedPerSecond": self.rate(window_s, *_FINISHED),
            "failedPerSecond": self.rate(window_s, "failed"),
            "waitSeconds": self.quantiles("wait"),
            "runSeconds": self.quantiles("run"),
        }


def _resolution_s(window_s: int) -> int:
    return min(width for width, kept in KEPT_S.items() if window_s <= kept)


async def stats(aggregates: Aggregates, freshness: Freshness, window_s: int) -> dict[str, Any]:
    """``GET /stats``: by job type, by queue and overall."""
    width = _resolution_s(window_s)
    since = freshness.as_of // MICROSECONDS - window_s
    counts, offset = await aggregates.states()
    rows = await aggregates.series(width, since - since % width)
    # In a thread: a day of many names is long to add up, and the event loop has other work.
    return await asyncio.to_thread(_stats, counts, offset, rows, freshness, window_s)


def _stats(
    counts: list[StateCount],
    offset: int,
    rows: list[SeriesRow],
    freshness: Freshness,
    window_s: int,
) -> dict[str, Any]:
    types, queues, overall = _grouped(counts, rows)
    return {
        "asOf": to_rfc3339(freshness.as_of),
        "logOffset": offset,
        "lagSeconds": freshness.lag_s,
        "complete": freshness.complete,
        "rebuilding": freshness.rebuilding,
        "windowSeconds": window_s,
        "states": overall.states,
        "types": _shown(types, window_s),
        "queues": _shown(queues, window_s),
        "overall": overall.shown(window_s),
    }


def _shown(groups: dict[str, _Group], window_s: int) -> dict[str, Any]:
    """The groups by name, those beyond a limit together under one."""
    weights = {
        name: sum(group.states.values()) + group.counts["created"] for name, group in groups.items()
    }
    named = heaviest(weights, _NAMES_MAX)
    shown: dict[str, _Group] = defaultdict(_Group)
    for name, group in sorted(groups.items()):
        shown[name if name in named else OTHER].merge(group)
    return {name: group.shown(window_s) for name, group in shown.items()}


def _grouped(
    counts: Iterable[StateCount], rows: Iterable[SeriesRow]
) -> tuple[dict[str, _Group], dict[str, _Group], _Group]:
    types: dict[str, _Group] = defaultdict(_Group)
    queues: dict[str, _Group] = defaultdict(_Group)
    overall = _Group()
    for count in counts:
        for group in (types[count.type], queues[count.queue], overall):
            group.states[count.state] += count.count
    for row in rows:
        for group in (types[row.key.type], queues[row.key.queue], overall):
            group.add(row)
    return types, queues, overall


async def series(
    aggregates: Aggregates,
    freshness: Freshness,
    window_s: int,
    step_s: int,
    type: str | None,
    queue: str | None,
) -> dict[str, Any]:
    """``GET /stats/series``: one item a step, oldest first, zeros where nothing happened."""
    now_s = freshness.as_of // MICROSECONDS
    last = now_s - now_s % step_s
    first = last - (min(window_s // step_s, _STEPS_MAX) - 1) * step_s
    steps: dict[int, _Group] = {at: _Group() for at in range(first, last + 1, step_s)}
    rows = await aggregates.series(step_s, first, type, queue)
    items = await asyncio.to_thread(_series, rows, steps)
    return {
        "asOf": to_rfc3339(freshness.as_of),
        "logOffset": freshness.log_offset,
        "stepSeconds": step_s,
        "items": items,
    }


def _series(rows: list[SeriesRow], steps: dict[int, _Group]) -> list[dict[str, Any]]:
    for row in rows:
        if (step := steps.get(row.key.bucket_s)) is not None:
            step.add(row)
    return [
        {
            "at": to_rfc3339(at * MICROSECONDS),
            **{measure: step.counts[measure] for measure in _COUNTED},
            "waitSeconds": step.quantiles("wait"),
            "runSeconds": step.quantiles("run"),
        }
        for at, step in steps.items()
    ]


async def queues(
    aggregates: Aggregates, store: StoreReads, freshness: Freshness, window_s: int
) -> list[dict[str, Any]]:
    """``GET /queues``: depth by state, the oldest waiting job, rates and times."""
    width = _resolution_s(window_s)
    since = freshness.as_of // MICROSECONDS - window_s
    counts, _ = await aggregates.states()
    rows = await aggregates.series(width, since - since % width)
    _, groups, _ = await asyncio.to_thread(_grouped, counts, rows)
    oldest = await store.oldest_queued()
    paused = set(await store.paused_queues())
    shown: list[dict[str, Any]] = []
    for name in sorted(groups.keys() | oldest.keys() | paused):
        group = groups[name].shown(window_s)
        shown.append(
            {
                "name": name,
                "paused": name in paused,
                "states": group["states"],
                "oldestQueuedAt": optional_rfc3339(oldest.get(name)),
                "oldestAgeSeconds": seconds_between(oldest.get(name), freshness.as_of),
                "createdPerSecond": group["createdPerSecond"],
                "finishedPerSecond": group["finishedPerSecond"],
                "waitSeconds": group["waitSeconds"],
                "runSeconds": group["runSeconds"],
            }
        )
    return shown
