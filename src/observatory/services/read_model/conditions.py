"""The alerts' conditions, evaluated by the system itself where no Prometheus does it.

Limits and windows are those of `core/alert.py`; `monitoring/rules.py` says the same in PromQL.
What one process cannot say of itself (that it is down, that it tells no numbers) is left to
Prometheus.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final, NamedTuple

from observatory.core import alert as known
from observatory.core.aggregates import ALL_TIME, KEPT_S, RESOLUTIONS_S, Aggregates, percentile
from observatory.core.alert import Alert, AlertRule
from observatory.core.canary import HEARTBEAT_JOB, STAGES
from observatory.core.errors import (
    AggregatesUnavailable,
    ObservatoryError,
    SpineUnavailable,
    StoreUnavailable,
)
from observatory.core.instant import MICROSECONDS
from observatory.core.job_type import DEFAULT_QUEUE
from observatory.core.lifecycle import State
from observatory.core.spine import Spine
from observatory.core.store import StoreReads
from observatory.runtime.loop import Loop
from observatory.services.read_model.alerts import Known
from observatory.services.read_model.buckets import Buckets
from observatory.services.read_model.freshness import Clock

EVERY_S: Final = 5.0
_KEPT_EVERY_S: Final = 30
"""Totals are kept this far apart, but for the newest."""
_FINISHED: Final = ("completed", "failed", "cancelled")
_QUANTILE: Final = 0.95
_ALERTS_MAX: Final = 200
_AWAY: Final = (StoreUnavailable, SpineUnavailable, AggregatesUnavailable)

EVALUATED: Final = (
    known.NO_PROCESSORS,
    known.BACKLOG_GROWING,
    known.LATENCY_HIGH,
    known.FAILURE_RATIO_HIGH,
    known.FAILURE_RATIO_RAISED,
    known.DEAD_LETTERS_GROWING,
    known.LEASES_EXPIRING,
    known.OUTBOX_STUCK,
    known.PROJECTION_LAGGING,
    known.HEARTBEAT_STALLED,
    known.BACKEND_UNREACHABLE,
    known.QUEUE_PAUSED_LONG,
)
"""The rules that are looked after here."""


class Finding(NamedTuple):
    """A condition that holds now."""

    rule: AlertRule
    value: str
    labels: Mapping[str, str] = {}

    @property
    def key(self) -> tuple[str, ...]:
        """Which alert it is, from one look to the next."""
        return (self.rule.name, *self.labels.values())


class _Totals(NamedTuple):
    """Lifetime totals by queue at one look, from which those of a window are taken."""

    at: int
    lost: int
    ended: dict[str, dict[int, int]]
    """How long jobs took, as bins, by queue."""
    queued: dict[str, int]


class Canary(NamedTuple):
    """What is to be seen of heartbeat jobs, and what was."""

    every_s: float = 0.0
    """Between them; 0 where there are none."""
    seen: Callable[[], Mapping[str, int]] = dict
    """Stage → when the last came to it."""


NO_CANARY: Final = Canary()
"""Where there are none."""


class Conditions:
    """Looks every few seconds which conditions hold, and since when."""

    def __init__(
        self,
        store: StoreReads,
        spine: Spine,
        aggregates: Aggregates,
        clock: Clock,
        lease_us: int,
        now: Callable[[], int],
        canary: Canary = NO_CANARY,
    ) -> None:
        self._store, self._spine, self._aggregates = store, spine, aggregates
        self._clock = clock
        self._lease_us = lease_us
        self._now = now
        self._canary = canary
        self._began: int | None = None
        """When it was first looked; before that nobody knows what was missed."""
        self._held_up: int | None = None
        """When heartbeat jobs' queue was last seen to be paused."""
        self._dead_letters: deque[tuple[int, int]] = deque()
        """When, and how many there were."""
        self._buckets = {width: Buckets(aggregates, width) for width in RESOLUTIONS_S}
        self._samples: deque[_Totals] = deque()
        self._found: dict[str, list[Finding]] = {}
        """By backend, what held when it was last looked at."""
        self._since: dict[tuple[str, ...], int] = {}
        """By alert, since when its condition holds."""
        self._known = Known("embedded", detail="the conditions have not been looked at yet")
        self.loops = (Loop("alerts", self.look, EVERY_S),)

    def known(self) -> Known:
        """What fired at the last look."""
        return self._known

    async def look(self) -> None:
        """Look once. What could not be looked at is as it was at the last look."""
        now = self._now()
        self._began = now if self._began is None else self._began
        unreachable: list[str] = []
        away: list[Finding] = []
        for backend, looking in (
            ("aggregates", lambda: self._of_aggregates(now)),
            ("store", lambda: self._of_store(now)),
            ("spine", lambda: self._of_spine(now)),
        ):
            try:
                self._found[backend] = await looking()
            except ObservatoryError as error:
                unreachable.append(backend)
                if isinstance(error, _AWAY):
                    labels = {"service": "this process", "backend": backend}
                    away.append(Finding(known.BACKEND_UNREACHABLE, "", labels))
        findings = [*chain.from_iterable(self._found.values()), *away]
        # Heartbeat jobs are seen in the log as it is added up: who cannot do that sees none.
        if not {"aggregates", "spine"} & {*unreachable}:
            findings += self._stalled(now)
        self._since = {one.key: self._since.get(one.key, now) for one in findings}

        def fires_at(one: Finding) -> int:
            # Once its condition has held long enough; Prometheus tells that time, too.
            return self._since[one.key] + one.rule.for_s * MICROSECONDS

        firing = [_alert(one, fires_at(one)) for one in findings if fires_at(one) <= now]
        detail = f"{', '.join(unreachable)} did not answer" if unreachable else None
        self._known = Known("embedded", tuple(firing[:_ALERTS_MAX]), now, detail=detail)

    async def _of_store(self, now: int) -> list[Finding]:
        found: list[Finding] = []
        workforce = await self._store.workforce(self._lease_us)
        if not workforce.active:
            found.append(Finding(known.NO_PROCESSORS, "0"))
        backlog = await self._store.outbox_backlog()
        waits_s = 0.0 if backlog.oldest_at is None else (now - backlog.oldest_at) / MICROSECONDS
        if waits_s > known.OUTBOX_STUCK.limit:
            found.append(Finding(known.OUTBOX_STUCK, _duration(waits_s)))
        paused = await self._store.paused_queues()
        if DEFAULT_QUEUE in paused:
            self._held_up = now
        for queue, since in paused.items():
            paused_s = (now - since) / MICROSECONDS
            if paused_s > known.QUEUE_PAUSED_LONG.limit:
                labels = {"queue": queue}
                found.append(Finding(known.QUEUE_PAUSED_LONG, _duration(paused_s), labels))
        for queue, since in (await self._store.oldest_queued()).items():
            waited_s = (now - since) / MICROSECONDS
            late = waited_s > known.BACKLOG_GROWING.limit and self._grows(queue, now)
            if late or waited_s > known.STUCK_S:
                labels = {"queue": queue}
                found.append(Finding(known.BACKLOG_GROWING, _duration(waited_s), labels))
        return found

    async def _of_spine(self, now: int) -> list[Finding]:
        await self._spine.check()
        found: list[Finding] = []
        freshness = await self._clock.freshness()
        if freshness.lag_s > known.PROJECTION_LAGGING.limit:
            found.append(Finding(known.PROJECTION_LAGGING, _duration(freshness.lag_s)))
        dead = self._dead_letters
        dead.append((now, await self._spine.dead_letters()))
        while now - dead[0][0] > known.DEAD_LETTERS_GROWING.window_s * MICROSECONDS:
            dead.popleft()
        if (more := dead[-1][1] - dead[0][1]) > known.DEAD_LETTERS_GROWING.limit:
            found.append(Finding(known.DEAD_LETTERS_GROWING, str(more)))
        return found

    def _stalled(self, now: int) -> list[Finding]:
        if not self._canary.every_s or self._began is None:
            return []
        limit_s = max(known.HEARTBEAT_STALLED.limit, 3 * self._canary.every_s)
        seen = self._canary.seen()
        # Behind a paused queue they wait, as told to, and for a moment after it was resumed.
        grace_us = known.HEARTBEAT_STALLED.limit * MICROSECONDS
        held_up = self._held_up is not None and now - self._held_up < grace_us
        for stage in STAGES[:1] if held_up else STAGES:
            # The first that is late; the later ones wait for it.
            late_s = (now - seen.get(stage, self._began)) / MICROSECONDS
            if late_s > limit_s:
                labels = {"stage": stage}
                return [Finding(known.HEARTBEAT_STALLED, _duration(late_s), labels)]
        return []

    async def _of_aggregates(self, now: int) -> list[Finding]:
        await self._sample(now)
        found = [
            finding
            for rule in (known.FAILURE_RATIO_HIGH, known.FAILURE_RATIO_RAISED)
            if (finding := await self._burning(rule, now)) is not None
        ]
        before, newest = self._before(now, known.LEASES_EXPIRING.window_s), self._samples[-1]
        lost = newest.lost - before.lost
        if lost > known.LEASES_EXPIRING.limit:
            found.append(Finding(known.LEASES_EXPIRING, str(lost)))
        before = self._before(now, known.LATENCY_HIGH.window_s)
        for queue, bins in newest.ended.items():
            earlier = before.ended.get(queue, {})
            took_s = percentile({b: n - earlier.get(b, 0) for b, n in bins.items()}, _QUANTILE)
            if took_s is not None and took_s > known.LATENCY_HIGH.limit:
                found.append(Finding(known.LATENCY_HIGH, _duration(took_s), {"queue": queue}))
        return found

    async def _sample(self, now: int) -> None:
        totals = await self._aggregates.series(ALL_TIME, 0)
        states, _ = await self._aggregates.states()
        lost = 0
        ended: dict[str, dict[int, int]] = {}
        queued: dict[str, int] = {}
        for row in totals:
            key = row.key
            if key.type == HEARTBEAT_JOB:
                continue  # goes well while all else fails, and would hide it
            if key.measure == "lost":
                lost += row.count
            elif key.measure == "end_to_end":
                bins = ended.setdefault(key.queue, {})
                bins[key.bin] = bins.get(key.bin, 0) + row.count
        for count in states:
            if count.state is State.QUEUED:
                queued[count.queue] = queued.get(count.queue, 0) + count.count
        if len(self._samples) > 1 and now - self._samples[-2].at < _KEPT_EVERY_S * MICROSECONDS:
            self._samples.pop()
        self._samples.append(_Totals(now, lost, ended, queued))
        longest_us = known.BACKLOG_GROWING.window_s * MICROSECONDS
        while now - self._samples[0].at > longest_us and len(self._samples) > 1:
            self._samples.popleft()

    def _before(self, now: int, window_s: int) -> _Totals:
        """The totals at the beginning of a window, as far back as anyone looked."""
        first = now - window_s * MICROSECONDS
        return next(sample for sample in self._samples if sample.at >= first)

    def _grows(self, queue: str, now: int) -> bool:
        if not self._samples or self._samples[-1].at != now:
            return False  # nobody could be asked how many wait now
        before = self._before(now, known.BACKLOG_GROWING.window_s)
        return self._samples[-1].queued.get(queue, 0) > before.queued.get(queue, 0)

    async def _burning(self, rule: AlertRule, now: int) -> Finding | None:
        long, failed = await self._failures(rule.window_s, now)
        short, _ = await self._failures(rule.short_window_s, now)
        if failed < known.FEW_FAILURES or long <= rule.limit or short <= rule.limit:
            return None
        return Finding(rule, f"{100 * long:.1f}%")

    async def _failures(self, window_s: int, now: int) -> tuple[float, int]:
        """The share of failures among the jobs that ended in a window, and how many failed."""
        now_s = now // MICROSECONDS
        buckets = self._buckets[min(w for w, kept in KEPT_S.items() if window_s <= kept)]
        await buckets.refresh(now_s, window_s)
        counts = dict.fromkeys(_FINISHED, 0)
        for (type, _, measure, _), count in buckets.total(now_s, window_s).items():
            if measure in counts and type != HEARTBEAT_JOB:
                counts[measure] += count
        finished = sum(counts.values())
        failed = counts["failed"]
        return (failed / finished if finished else 0.0), failed


def _alert(finding: Finding, since: int) -> Alert:
    rule = finding.rule
    words = {**finding.labels, "value": finding.value}
    return Alert(
        name=rule.name,
        severity=rule.severity,
        since=since,
        summary=rule.summary.format_map(words),
        description=rule.description.format_map(words),
        runbook=rule.runbook,
        labels=dict(finding.labels),
    )


def _duration(seconds: float) -> str:
    """In the two largest of its units."""
    whole = int(seconds)
    units = {"d": whole // 86_400, "h": whole // 3600 % 24, "m": whole // 60 % 60, "s": whole % 60}
    shown = [f"{count}{unit}" for unit, count in units.items()]
    first = next((at for at, count in enumerate(units.values()) if count), len(units) - 1)
    return " ".join(shown[first : first + 2])
