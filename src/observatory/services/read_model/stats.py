"""Statistics: exact counts, rates and percentiles, from the aggregates."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from observatory.core.aggregates import (
    KEPT_S,
    OTHER,
    RESOLUTIONS_S,
    Aggregates,
    Measure,
    StateCount,
    heaviest,
    percentile,
)
from observatory.core.instant import MICROSECONDS, optional_rfc3339, seconds_between, to_rfc3339
from observatory.core.lifecycle import State
from observatory.core.store import StoreReads
from observatory.services.read_model.buckets import Buckets, Rows
from observatory.services.read_model.freshness import Freshness

_FINISHED: Final = ("completed", "failed", "cancelled")
_COUNTED: Final = ("created", "started", "completed", "failed", "retried", "cancelled")
_QUANTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_STEPS_MAX: Final = 1440
_RATE_WINDOW_S: Final = 60
"""Of queues: what goes in and out now, and so when they will be empty, a burst of ten minutes ago
says nothing of."""
_NAMES_MAX: Final = 200
"""Job types, and queues, that are told apart; what is beyond is told as one."""


class _Group:
    """Sums over some of the series' rows."""

    __slots__ = ("bins", "counts", "states")

    def __init__(self) -> None:
        self.states: dict[str, int] = dict.fromkeys(State, 0)
        self.counts: dict[str, int] = defaultdict(int)
        self.bins: dict[str, dict[int, int]] = {"wait": {}, "run": {}}

    def add(self, name: str, bin: int, count: int) -> None:
        if (bins := self.bins.get(name)) is not None:
            bins[bin] = bins.get(bin, 0) + count
        else:
            self.counts[name] += count

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


_Groups = tuple[dict[str, _Group], dict[str, _Group], _Group]
"""By type, by queue and overall."""


class Statistics:
    """What the aggregates say, in windows that end now."""

    def __init__(self, aggregates: Aggregates, store: StoreReads) -> None:
        self._aggregates = aggregates
        self._store = store
        self._buckets = {width: Buckets(aggregates, width) for width in RESOLUTIONS_S}
        self._steps: dict[int, dict[int, tuple[Rows, dict[str, Any]]]] = {}

    async def stats(self, freshness: Freshness, window_s: int) -> dict[str, Any]:
        """``GET /stats``: by job type, by queue and overall."""
        (types, queues, overall), offset = await self._grouped(freshness, window_s)
        return {
            **_taken(freshness, offset, window_s),
            "states": overall.states,
            "types": _shown(types, window_s),
            "queues": _shown(queues, window_s),
            "overall": overall.shown(window_s),
        }

    async def series(
        self,
        freshness: Freshness,
        window_s: int,
        step_s: int,
        type: str | None,
        queue: str | None,
    ) -> dict[str, Any]:
        """``GET /stats/series``: one item a step, oldest first, zeros where nothing happened."""
        now_s = freshness.as_of // MICROSECONDS
        buckets = self._buckets[step_s]
        await buckets.refresh(now_s, window_s)
        last = now_s - now_s % step_s
        first = last - (min(window_s // step_s, _STEPS_MAX) - 1) * step_s
        starts = range(first, last + 1, step_s)
        if type is None and queue is None:
            items = self._of_all(buckets, step_s, starts)
        else:
            items = [_step(at, _only(buckets.rows(at), type, queue)) for at in starts]
        return {
            "asOf": to_rfc3339(freshness.as_of),
            "logOffset": freshness.log_offset,
            "stepSeconds": step_s,
            "items": items,
        }

    async def queues(self, freshness: Freshness, window_s: int) -> dict[str, Any]:
        """``GET /queues``: depth by state, the oldest waiting job, rates and times."""
        (_, groups, _), offset = await self._grouped(freshness, window_s)
        # Of buckets that were just refreshed.
        now_s = freshness.as_of // MICROSECONDS
        buckets = self._buckets[_resolution_s(window_s)]
        _, latest, _ = _grouped((), buckets.total(now_s, _RATE_WINDOW_S))
        oldest = await self._store.oldest_queued()
        paused = await self._store.paused_queues()
        shown: list[dict[str, Any]] = []
        for name in sorted(groups.keys() | oldest.keys() | paused.keys() | await self._declared()):
            group = groups[name].shown(window_s)
            now = latest[name]
            shown.append(
                {
                    "name": name,
                    "paused": name in paused,
                    "pausedAt": optional_rfc3339(paused.get(name)),
                    "states": group["states"],
                    "oldestQueuedAt": optional_rfc3339(oldest.get(name)),
                    "oldestAgeSeconds": seconds_between(oldest.get(name), freshness.as_of),
                    "createdPerSecond": now.rate(_RATE_WINDOW_S, "created"),
                    "finishedPerSecond": now.rate(_RATE_WINDOW_S, *_FINISHED),
                    "waitSeconds": group["waitSeconds"],
                    "runSeconds": group["runSeconds"],
                }
            )
        taken = _taken(freshness, offset, window_s)
        return {"items": shown, "next": None, **taken, "rateWindowSeconds": _RATE_WINDOW_S}

    async def _declared(self) -> set[str]:
        """The queues of job types, and those from which workers take: they may have had no job."""
        names = {job_type.queue for job_type in await self._store.job_types()}
        for worker in await self._store.workers():
            if worker.state != "stopped":
                names.update(worker.queues)
        return names

    async def _grouped(self, freshness: Freshness, window_s: int) -> tuple[_Groups, int]:
        now_s = freshness.as_of // MICROSECONDS
        buckets = self._buckets[_resolution_s(window_s)]
        counts, offset = await self._aggregates.states()
        await buckets.refresh(now_s, window_s)
        return _grouped(counts, buckets.total(now_s, window_s)), offset

    def _of_all(self, buckets: Buckets, step_s: int, starts: range) -> list[dict[str, Any]]:
        """The steps over all types and queues; those whose bucket is as it was are kept."""
        before = self._steps.get(step_s, {})
        steps: dict[int, tuple[Rows, dict[str, Any]]] = {}
        for at in starts:
            rows = buckets.rows(at)
            kept = before.get(at)
            if kept is None or kept[0] is not rows:
                kept = (rows, _step(at, rows))
            steps[at] = kept
        self._steps[step_s] = steps if len(steps) >= len(before) else before | steps
        return [item for _, item in steps.values()]


def _taken(freshness: Freshness, offset: int, window_s: int) -> dict[str, Any]:
    """When and from what the numbers were taken, and whether any are missing."""
    return {
        "asOf": to_rfc3339(freshness.as_of),
        "logOffset": offset,
        "lagSeconds": freshness.lag_s,
        "complete": freshness.complete,
        "rebuilding": freshness.rebuilding,
        "windowSeconds": window_s,
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


def _grouped(counts: Iterable[StateCount], total: dict[Measure, int]) -> _Groups:
    types: dict[str, _Group] = defaultdict(_Group)
    queues: dict[str, _Group] = defaultdict(_Group)
    overall = _Group()
    for count in counts:
        for group in (types[count.type], queues[count.queue], overall):
            group.states[count.state] += count.count
    for (type, queue, name, bin), count in total.items():
        for group in (types[type], queues[queue], overall):
            group.add(name, bin, count)
    return types, queues, overall


def _only(rows: Rows, type: str | None, queue: str | None) -> Rows:
    return [row for row in rows if type in (None, row[0][0]) and queue in (None, row[0][1])]


def _step(at: int, rows: Rows) -> dict[str, Any]:
    group = _Group()
    for (_, _, name, bin), count in rows:
        group.add(name, bin, count)
    return {
        "at": to_rfc3339(at * MICROSECONDS),
        **{name: group.counts[name] for name in _COUNTED},
        "waitSeconds": group.quantiles("wait"),
        "runSeconds": group.quantiles("run"),
    }
