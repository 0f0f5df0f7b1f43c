"""The metrics of the system as a whole, which one process tells for all: a sum over the processes
would count them many times."""

from asyncio import Lock, gather, to_thread
from itertools import islice
from typing import Final

from prometheus_client.core import Metric

from observatory.core.aggregates import ALL_TIME, OTHER, Aggregates
from observatory.core.instant import MICROSECONDS
from observatory.core.spine import Spine
from observatory.core.store import StoreReads, Workforce
from observatory.runtime.metrics import (
    SERIES_MAX,
    Scrape,
    gauge,
    labelled,
    timestamp,
    timestamps,
)
from observatory.services.metrics_engine.follow import Follower
from observatory.services.metrics_engine.jobs import JobMetrics

_OLDEST_READY: Final = "When the longest waiting job of a queue was queued."
_PAUSED: Final = "Since when a queue is paused; of those that are."
_HEARTBEAT: Final = "When the last heartbeat job came to a stage of the pipeline."
_OUTBOX_OLDEST: Final = "When the oldest commit that waits to be published was made."
_LAST_EVENT: Final = "When the spine took the newest log message that has been applied."


class SystemMetrics:
    """Asks the backends for the numbers of the whole system."""

    def __init__(
        self,
        store: StoreReads,
        spine: Spine,
        aggregates: Aggregates,
        follower: Follower,
        lease_s: float,
    ) -> None:
        self._store = store
        self._spine = spine
        self._aggregates = aggregates
        self._follower = follower
        self._lease_us = round(lease_s * MICROSECONDS)
        self._jobs = JobMetrics()
        self._making = Lock()
        """Two who scrape at once must be told the same names."""

    async def ask(self, scrape: Scrape) -> list[Metric]:
        """What the backends answer, and what following the log has shown."""
        of_store, of_log = await gather(self._of_store(scrape), self._of_log(scrape))
        return [*of_store, *of_log, *self._of_following()]

    async def _of_log(self, scrape: Scrape) -> list[Metric]:
        states, lifetime, log, dead, types = await gather(
            scrape.ask("aggregates", self._aggregates.states()),
            scrape.ask("aggregates", self._aggregates.changes(ALL_TIME, 0, None)),
            scrape.ask("spine", self._spine.log_range()),
            scrape.ask("spine", self._spine.dead_letters()),
            scrape.ask("store", self._store.job_types()),
        )
        if lifetime is not None and not lifetime.mark.generation:
            # They were emptied: what is not known is not told, and least of all as zero.
            states = lifetime = None
        made: list[Metric] = []
        if dead is not None:
            made.append(gauge("dead_letters", "Work messages that nobody could read.", dead))
        if log is not None:
            text = "Offset of the newest message in the event log."
            made.append(gauge("log_last_offset", text, log.last))
        if states is not None:
            text = "Offset up to which the aggregates are."
            made.append(gauge("log_applied_offset", text, states[1]))
        if log is not None and states is not None:
            text = "Log messages not applied yet."
            made.append(gauge("projection_lag_messages", text, max(0, log.last - states[1])))
        counts = None if states is None else states[0]
        totals = None if lifetime is None else lifetime.buckets.get(0, [])
        async with self._making:
            made += await to_thread(self._jobs.make, counts, totals, types or [])
        return made

    async def _of_store(self, scrape: Scrape) -> list[Metric]:
        backlog, oldest, paused, workforce = await gather(
            scrape.ask("store", self._store.outbox_backlog()),
            scrape.ask("store", self._store.oldest_queued()),
            scrape.ask("store", self._store.paused_queues()),
            scrape.ask("store", self._store.workforce(self._lease_us)),
        )
        made: list[Metric] = []
        if backlog is not None:
            text = "Commits waiting to be published."
            made.append(gauge("outbox_pending", text, backlog.commits))
            made.append(timestamp("outbox_oldest", _OUTBOX_OLDEST, backlog.oldest_at))
        if oldest is not None:
            made.append(timestamps("oldest_ready_job", _OLDEST_READY, "queue", _earliest(oldest)))
        if paused is not None:
            shown = dict(islice(paused.items(), SERIES_MAX))
            made.append(timestamps("queue_paused_since", _PAUSED, "queue", shown))
        if workforce is not None:
            made += _of_workers(workforce)
        return made

    def _of_following(self) -> list[Metric]:
        follower = self._follower
        return [
            timestamp("projection_last_event", _LAST_EVENT, follower.last_event_at),
            timestamps("heartbeat_last_seen", _HEARTBEAT, "stage", follower.heartbeats.last),
        ]


def _earliest(oldest: dict[str, int]) -> dict[str, int]:
    """Those that have waited longest; the first of the others as one."""
    first = sorted(oldest, key=lambda queue: (oldest[queue], queue))
    shown = {queue: oldest[queue] for queue in first[:SERIES_MAX]}
    for queue in first[SERIES_MAX : SERIES_MAX + 1]:
        shown.setdefault(OTHER, oldest[queue])
    return shown


def _of_workers(found: Workforce) -> list[Metric]:
    states = {"active": found.active, "draining": found.draining, "stale": found.stale}
    slots = {"busy": found.busy_slots, "free": found.free_slots}
    return [
        labelled("workers", "Workers of the last day, by what they are now.", "state", states),
        labelled("worker_slots", "Slots of workers that live.", "state", slots),
    ]
