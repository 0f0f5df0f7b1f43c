"""Aggregates: live counts, rates and latency distributions, folded from the event log.

Implemented in `backends/sqlite/` and `backends/redis/`; what every implementation must do is in
`tests/conformance/test_aggregates.py`.

Everything is a sum, so the order of events does not matter; what matters is that each numbered
batch is added exactly once. A batch is applied together with its offset and its publisher's number
in one atomic step.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Final, Protocol

import msgspec

from observatory.core.canary import HEARTBEAT_JOB, STAGE_OF_EVENT
from observatory.core.instant import MICROSECONDS, from_rfc3339
from observatory.core.job import Transition
from observatory.core.lifecycle import Move, OutcomeKind, State

RESOLUTIONS_S: Final = (5, 60)
"""Widths of the series' buckets in seconds, the finest first; each divides the next."""

KEPT_S: Final = {5: 3600, 60: 86_400}
"""How long each resolution is kept."""

ALL_TIME: Final = 0
"""The resolution of lifetime totals: one bucket, at 0."""

BOUNDS_US: Final = tuple(
    int(step * 10**decade)
    for decade in range(2, 12)
    for step in (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
)
"""Upper bounds of the duration bins, 100 microseconds to 222 hours (the last bin is open). Two
neighbours differ by at most a quarter, and a percentile is interpolated within its bin, so it is
off by less than that."""

COUNT: Final = -1
"""The bin of a measure that only counts."""


OTHER: Final = "other"
"""The name under which queues and job types beyond a limit are shown together."""


def heaviest(weights: Mapping[str, int], limit: int) -> frozenset[str]:
    """The `limit` names that weigh most; of equal ones those that come first."""
    if len(weights) <= limit:
        return frozenset(weights)
    return frozenset(sorted(weights, key=lambda name: (-weights[name], name))[:limit])


class SeriesKey(msgspec.Struct, frozen=True, array_like=True):
    """What one number of the series counts."""

    resolution_s: int
    bucket_s: int
    type: str
    queue: str
    measure: str
    """created, started, completed, failed, retried, cancelled, wait, run, wait_us, run_us; of all
    times only: lost, end_to_end, end_to_end_us."""
    bin: int


class Deltas:
    """Sums to add: jobs in each state, and series."""

    __slots__ = ("_coarser", "_finest", "_kept_from", "heartbeats", "states")

    def __init__(self, now_s: int | None = None) -> None:
        """Nothing yet.

        Args:
            now_s: leave out the buckets that are no longer kept at this time.
        """
        self._kept_from = (
            None
            if now_s is None
            else [(width, (now_s - kept_s) // width * width) for width, kept_s in KEPT_S.items()]
        )
        self.states: dict[tuple[str, str, str], int] = {}
        """(type, queue, state) → change."""
        self.heartbeats: dict[str, int] = {}
        """Stage → when the last heartbeat job came to it, where events told. Kept nowhere."""
        self._finest: dict[tuple[int, str, str, str, int], int] = {}
        """(bucket of the finest resolution, type, queue, measure, bin) → change."""
        self._coarser: dict[tuple[int, int, str, str, str, int], int] = {}
        """The same of what is kept in a coarser one only, which comes first."""

    @property
    def series(self) -> dict[tuple[int, int, str, str, str, int], int]:
        """The fields of a `SeriesKey` → change, in every resolution."""
        series: dict[tuple[int, int, str, str, str, int], int] = {}
        key: Any
        for (bucket, *rest), amount in self._finest.items():
            for width in (ALL_TIME, *RESOLUTIONS_S):
                key = (width, bucket - bucket % width if width else 0, *rest)
                series[key] = series.get(key, 0) + amount
        for (finest, bucket, *rest), amount in self._coarser.items():
            for width in (ALL_TIME, *(one for one in RESOLUTIONS_S if one >= finest > ALL_TIME)):
                key = (width, bucket - bucket % width if width else 0, *rest)
                series[key] = series.get(key, 0) + amount
        return series

    def move(self, type: str, queue: str, previous: str | None, state: str | None) -> None:
        """One job went from one state to another; None is outside the record."""
        states = self.states
        if previous is not None:
            key = (type, queue, previous)
            states[key] = states.get(key, 0) - 1
        if state is not None:
            key = (type, queue, state)
            states[key] = states.get(key, 0) + 1

    def count(
        self, at: int, type: str, queue: str, measure: str, bin: int = COUNT, amount: int = 1
    ) -> None:
        """Add to a measure."""
        second = at // MICROSECONDS
        if self._kept_from is not None and second < self._kept_from[0][1]:
            width = next((one for one, first in self._kept_from if second >= first), ALL_TIME)
            start = second - second % width if width else 0
            old = (width, start, type, queue, measure, bin)
            self._coarser[old] = self._coarser.get(old, 0) + amount
            return
        key = (second - second % RESOLUTIONS_S[0], type, queue, measure, bin)
        self._finest[key] = self._finest.get(key, 0) + amount

    def duration(self, at: int, type: str, queue: str, measure: str, us: int) -> None:
        """Add one duration to a distribution, and to its sum."""
        bin = bisect_left(BOUNDS_US, us)
        self.count(at, type, queue, measure, bin)
        self.count(at, type, queue, f"{measure}_us", COUNT, us)

    def count_ever(
        self, type: str, queue: str, measure: str, bin: int = COUNT, amount: int = 1
    ) -> None:
        """Add to a measure of which only the lifetime total is kept: who asks for it makes windows
        of its own, and each resolution costs as much again."""
        key = (ALL_TIME, 0, type, queue, measure, bin)
        self._coarser[key] = self._coarser.get(key, 0) + amount

    def duration_ever(self, type: str, queue: str, measure: str, us: int) -> None:
        """Like `duration`, for the lifetime only."""
        self.count_ever(type, queue, measure, bisect_left(BOUNDS_US, us))
        self.count_ever(type, queue, f"{measure}_us", COUNT, us)


_MEASURE_OF_MOVE: Final = {
    Move.ACCEPT: "created",
    Move.DEFER: "created",
    Move.CLAIM: "started",
    Move.COMPLETE: "completed",
    Move.FAIL: "failed",
    Move.SCHEDULE_RETRY: "retried",
    Move.CANCEL: "cancelled",
}

_MEASURE_OF_EVENT: Final = {
    "job.created": "created",
    "job.started": "started",
    "job.completed": "completed",
    "job.failed": "failed",
    "job.retrying": "retried",
    "job.cancelled": "cancelled",
}


class _Data(msgspec.Struct, rename="camel"):
    job_type: str = ""
    queue: str = ""
    state: str | None = None
    previous_state: str | None = None
    wait_seconds: float | None = None
    run_seconds: float | None = None
    end_to_end_seconds: float | None = None
    reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    time: str
    data: _Data


_decoder = msgspec.json.Decoder(list[_Event])


def fold_batch(body: bytes, into: Deltas) -> None:
    """Add a CloudEvents batch from the log.

    Raises:
        msgspec.DecodeError: the body is not a batch of our events.
    """
    instants: dict[str, int] = {}
    for event in _decoder.decode(body):
        if not event.type.startswith("job.") or event.type == "job.progressed":
            continue
        data = event.data
        at = instants.get(event.time)
        if at is None:
            at = instants[event.time] = from_rfc3339(event.time)
        if event.type != "job.attempt_failed":
            into.move(data.job_type, data.queue, data.previous_state, data.state)
        _add_measures(event, at, into)


def _add_measures(event: _Event, at: int, into: Deltas) -> None:
    data = event.data
    if data.job_type == HEARTBEAT_JOB and (stage := STAGE_OF_EVENT.get(event.type)):
        into.heartbeats[stage] = max(at, into.heartbeats.get(stage, at))
    if measure := _MEASURE_OF_EVENT.get(event.type):
        into.count(at, data.job_type, data.queue, measure)
    if data.wait_seconds is not None:
        us = round(data.wait_seconds * MICROSECONDS)
        into.duration(at, data.job_type, data.queue, "wait", us)
    lost = event.type == "job.attempt_failed" and data.reason == OutcomeKind.LOST
    if data.run_seconds is not None and not lost:
        us = round(data.run_seconds * MICROSECONDS)
        into.duration(at, data.job_type, data.queue, "run", us)
    if data.end_to_end_seconds is not None:
        us = round(data.end_to_end_seconds * MICROSECONDS)
        into.duration_ever(data.job_type, data.queue, "end_to_end", us)
    if lost:
        into.count_ever(data.job_type, data.queue, "lost")


_RUN_MEASURED: Final = frozenset({"error", "timeout", "not_retryable", "unserialisable"})
"""Not lost: when such a run ended nobody knows, only when its worker was taken for dead."""


class Counted(msgspec.Struct):
    """What counts of a transition. Decoding the rest, too, would take twice as long."""

    move: Move
    at: int
    type: str
    queue: str
    since: int | None = None
    outcome: OutcomeKind | None = None
    ready_at: int | None = None


def fold_transitions(transitions: Iterable[Transition | Counted], into: Deltas) -> None:
    """Add the measures of transitions read from the record; must equal `fold_batch` of their
    events, state changes apart (a rebuild counts the states from the jobs themselves)."""
    for t in transitions:
        if measure := _MEASURE_OF_MOVE.get(t.move):
            into.count(t.at, t.type, t.queue, measure)
        if t.ready_at is not None:
            into.duration_ever(t.type, t.queue, "end_to_end", t.at - t.ready_at)
        if t.outcome is OutcomeKind.LOST:
            into.count_ever(t.type, t.queue, "lost")
        if t.since is None:
            continue
        us = max(0, t.at - t.since)
        if t.move is Move.CLAIM:
            into.duration(t.at, t.type, t.queue, "wait", us)
        elif t.move is Move.COMPLETE or t.outcome in _RUN_MEASURED:
            into.duration(t.at, t.type, t.queue, "run", us)


def percentile(bins: Mapping[int, int], quantile: float, sum_us: int | None = None) -> float | None:
    """A percentile in seconds of a distribution (bin → count), estimated within its bin; None of
    nothing.

    Args:
        bins: how many durations fell into each bin.
        quantile: which one, such as 0.95.
        sum_us: the sum of the durations, which tells where in their bins they lie: a single one
            is known exactly by it.
    """
    total = sum(bins.values())
    if total <= 0:
        return None
    tilt = _tilt(bins, sum_us)
    rank = max(1, ceil(quantile * total - _ROUNDING))
    seen = 0
    for bin in sorted(bins):
        count = bins[bin]
        if count > 0 and seen + count >= rank:
            lower, upper = _bounds(bin)
            half = (upper - lower) / 2
            # The durations of the bin lie evenly about their mean, as far as its bounds let them.
            place = (rank - seen - 0.5) / count * 2 - 1
            return (lower + half + half * (tilt + (1 - abs(tilt)) * place)) / MICROSECONDS
        seen += count
    return BOUNDS_US[-1] / MICROSECONDS


_ROUNDING: Final = 1e-9
"""A quantile is no exact number: 0.07 times 100 is a little more than 7."""


def _bounds(bin: int) -> tuple[int, int]:
    upper = BOUNDS_US[min(bin, len(BOUNDS_US) - 1)]
    return (BOUNDS_US[bin - 1] if bin > 0 else 0), upper


def _tilt(bins: Mapping[int, int], sum_us: int | None) -> float:
    """Where in their bins the durations lie on average: -1 at the lower bounds, 1 at the upper, 0
    in the middle or where it is not known."""
    open_bin = len(BOUNDS_US)
    if sum_us is None or bins.get(open_bin, 0) > 0:
        return 0.0
    middle = widths = 0.0
    for bin, count in bins.items():
        lower, upper = _bounds(bin)
        middle += count * (lower + upper) / 2
        widths += count * (upper - lower) / 2
    return max(-1.0, min(1.0, (sum_us - middle) / widths)) if widths else 0.0


class Position(msgspec.Struct, frozen=True):
    """Up to where the log has been applied: its epoch, the offset, each publisher's number."""

    epoch: str
    offset: int
    numbers: dict[str, int]


class StateCount(msgspec.Struct, frozen=True):
    """How many jobs of a type and queue are in a state."""

    type: str
    queue: str
    state: State
    count: int


class SeriesRow(msgspec.Struct, frozen=True):
    """One number of the series."""

    key: SeriesKey
    count: int


Measure = tuple[str, str, str, int]
"""Job type, queue, measure and bin: the fields of a `SeriesKey` within one bucket."""


class Mark(msgspec.Struct, frozen=True):
    """How far somebody knows the series; only the aggregates that made it can read it."""

    generation: str
    """Of sums that were made together; empty where there are none at all."""
    offset: int


class Changes(msgspec.Struct, frozen=True):
    """The buckets of one resolution that are not as they were at a mark, each whole."""

    mark: Mark
    """Where to ask from the next time."""
    anew: bool
    """What was known before is worth nothing: these are all the buckets there are."""
    buckets: dict[int, list[tuple[Measure, int]]]


class Aggregates(Protocol):
    """Keeps the sums. Losing them is harmless: they are rebuilt from the store."""

    async def position(self) -> Position | None:
        """Where the log has been applied to; None when empty or lost."""
        ...

    async def apply(self, expected_offset: int, position: Position, deltas: Deltas) -> None:
        """Add sums and move on, atomically. `position.numbers` holds only what changed.

        Raises:
            PositionMismatch: the aggregates are not at `expected_offset` of that epoch.
        """
        ...

    async def replace(self, position: Position, deltas: Deltas) -> None:
        """Start anew from these sums, atomically."""
        ...

    async def invalidate(self) -> None:
        """Forget the position: the sums stay to be shown, and are known to be incomplete."""
        ...

    async def states(self) -> tuple[list[StateCount], int]:
        """Jobs in each state, and the offset at which that holds, read together."""
        ...

    async def series(
        self, resolution_s: int, since_s: int, type: str | None = None, queue: str | None = None
    ) -> list[SeriesRow]:
        """The series' numbers in buckets from `since_s` on."""
        ...

    async def changes(self, resolution_s: int, since_s: int, mark: Mark | None) -> Changes:
        """The buckets from `since_s` on that have changed since the mark; all where there is
        none, or where everything was replaced since. What was trimmed is not told."""
        ...

    async def trim(self, now_s: int) -> None:
        """Drop buckets older than their resolution is kept."""
        ...

    async def close(self) -> None:
        """Give back what is held."""
        ...
