"""Alerts: what is worth waking somebody for, in words, with the limits that hold everywhere.

The same rules are evaluated by Prometheus (`monitoring/rules.py` writes them in its language) and,
where there is no Prometheus, by the embedded system itself (`services/read_model/conditions.py`).
"""

from enum import StrEnum
from typing import Final, Protocol

import msgspec

STUCK_S: Final = 3600.0
"""A job that waits for longer is left alone by everybody, whether its queue grows or not."""

FEW_FAILURES: Final = 10
"""A ratio made by fewer failures in its long window says nothing, however few jobs there were."""


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"
    """At once, at any hour."""
    WARNING = "warning"
    """Within the working day."""
    INFO = "info"
    """When one looks anyway."""


class AlertRule(msgspec.Struct, frozen=True):
    """One alert. In its texts `{queue}` and the like stand for labels, `{value}` for what was
    measured."""

    name: str
    severity: Severity
    summary: str
    description: str
    for_s: int
    """How long it must hold before it fires."""
    limit: float = 0.0
    """What the measured value must exceed, or fall below; the description says of what unit."""
    window_s: int = 300
    """Over which time rates, ratios and percentiles are taken."""
    short_window_s: int = 0
    """Of a ratio: over this time, too, so that it ends soon after what it tells of."""

    @property
    def runbook(self) -> str:
        """Where its runbook is served."""
        return f"/runbooks/{self.name}"


class Alert(msgspec.Struct, frozen=True):
    """An alert that fires now."""

    name: str
    severity: str
    since: int
    """When it began to fire, in microseconds since the epoch. Its condition had held for its
    rule's `for_s` by then."""
    summary: str
    description: str
    runbook: str | None
    labels: dict[str, str]


class Firing(msgspec.Struct, frozen=True):
    """The alerts that fire now, as somebody else tells them."""

    alerts: tuple[Alert, ...]
    silenced: int
    """How many more do, that somebody wanted to hear no more of."""
    watched: bool
    """Whether the alert that always fires is among them, silenced or not."""


class Alerting(Protocol):
    """Somebody else who knows which alerts fire."""

    async def firing(self) -> Firing:
        """Those that do now.

        Raises:
            OSError: it does not answer, or with something else.
        """
        ...

    async def close(self) -> None:
        """Give back what is held."""
        ...


SERVICE_DOWN: Final = AlertRule(
    "ObservatoryServiceDown",
    Severity.CRITICAL,
    "{service} at {instance} does not answer",
    "Prometheus could not scrape {service} at {instance} for a minute. What it does stands still "
    "unless another of its kind does it.",
    for_s=60,
)
NUMBERS_MISSING: Final = AlertRule(
    "ObservatoryNumbersMissing",
    Severity.CRITICAL,
    "nobody tells the numbers of the whole system",
    "No metrics engine is scraped, or none reaches its aggregates. Every alert about queues, jobs "
    "and workers is blind as long as that lasts.",
    for_s=120,
)
NO_PROCESSORS: Final = AlertRule(
    "ObservatoryNoProcessors",
    Severity.CRITICAL,
    "no processor is at work",
    "No worker has shown itself within its lease: jobs are accepted and none is run.",
    for_s=60,
)
BACKLOG_GROWING: Final = AlertRule(
    "ObservatoryBacklogGrowing",
    Severity.WARNING,
    "queue {queue} does not get done: its oldest job has waited {value}",
    "More jobs come into queue {queue} than are run, and the oldest has waited for more than five "
    "minutes; or nothing is run of it at all, and the oldest has waited for an hour ({value}).",
    for_s=300,
    limit=300.0,
    window_s=600,
)
LATENCY_HIGH: Final = AlertRule(
    "ObservatoryJobLatencyHigh",
    Severity.WARNING,
    "one job in twenty of queue {queue} takes longer than {value} from submit to end",
    "The 95th percentile from accepted (or due) to ended is above five minutes in queue {queue}.",
    for_s=300,
    limit=300.0,
)
FAILURE_RATIO_HIGH: Final = AlertRule(
    "ObservatoryJobFailureRatioHigh",
    Severity.CRITICAL,
    "{value} of the jobs that ended within an hour failed",
    "Jobs fail at a rate that uses up a month's tolerance of one failure in a hundred within two "
    "days: more than 14.4 in a hundred over the last hour, ten at least, and over the last five "
    "minutes.",
    for_s=120,
    limit=0.144,
    window_s=3600,
    short_window_s=300,
)
FAILURE_RATIO_RAISED: Final = AlertRule(
    "ObservatoryJobFailureRatioRaised",
    Severity.WARNING,
    "{value} of the jobs that ended within six hours failed",
    "Jobs fail at a rate that uses up a month's tolerance of one failure in a hundred within five "
    "days: more than 6 in a hundred over the last six hours, ten at least, and over the last "
    "half hour.",
    for_s=900,
    limit=0.06,
    window_s=21_600,
    short_window_s=1800,
)
DEAD_LETTERS_GROWING: Final = AlertRule(
    "ObservatoryDeadLettersGrowing",
    Severity.WARNING,
    "{value} messages were laid aside as unreadable",
    "Messages that nobody could parse came into the dead-letter queue within the last quarter of "
    "an hour. Somebody publishes what is not ours, or processors of different versions run.",
    for_s=0,
    limit=0.0,
    window_s=900,
)
LEASES_EXPIRING: Final = AlertRule(
    "ObservatoryLeasesExpiring",
    Severity.WARNING,
    "{value} runs were lost with their workers",
    "Workers were taken for dead while they ran jobs, which are run again: processes are killed, "
    "lack memory, or cannot reach the store.",
    for_s=0,
    limit=2.0,
    window_s=600,
)
OUTBOX_STUCK: Final = AlertRule(
    "ObservatoryOutboxStuck",
    Severity.CRITICAL,
    "what was recorded has not been published for {value}",
    "The oldest change in the outbox is older than a minute: jobs are accepted and do not reach a "
    "processor, and views do not move.",
    for_s=60,
    limit=60.0,
)
PROJECTION_LAGGING: Final = AlertRule(
    "ObservatoryProjectionLagging",
    Severity.WARNING,
    "the numbers do not follow the event log",
    "The metrics engine has not applied what was published for more than half a minute: counts "
    "and rates are old, jobs are not affected.",
    for_s=60,
    limit=30.0,
)
HEARTBEAT_STALLED: Final = AlertRule(
    "ObservatoryHeartbeatStalled",
    Severity.CRITICAL,
    "no heartbeat job has been {stage} for {value}",
    "Jobs that the system submits to itself do not come through to stage {stage}: work stands "
    "still even if everything looks healthy.",
    # A Prometheus that was away, or a machine that slept, knows of none since until everybody was
    # asked anew: for that long it says nothing of the system.
    for_s=60,
    limit=120.0,
)
BACKEND_UNREACHABLE: Final = AlertRule(
    "ObservatoryBackendUnreachable",
    Severity.CRITICAL,
    "{service} does not reach the {backend}",
    "{service} got no answer from its {backend} for a minute.",
    for_s=60,
)
QUEUE_PAUSED_LONG: Final = AlertRule(
    "ObservatoryQueuePausedLong",
    Severity.INFO,
    "queue {queue} has been paused for {value}",
    "Somebody paused queue {queue} more than an hour ago, and its jobs wait.",
    for_s=0,
    limit=3600.0,
)
WATCHDOG: Final = AlertRule(
    "ObservatoryWatchdog",
    Severity.INFO,
    "alerting works",
    "Fires always. Where it does not arrive, no other alert would either.",
    for_s=0,
)

RULES: Final = (
    SERVICE_DOWN,
    NUMBERS_MISSING,
    NO_PROCESSORS,
    BACKLOG_GROWING,
    LATENCY_HIGH,
    FAILURE_RATIO_HIGH,
    FAILURE_RATIO_RAISED,
    DEAD_LETTERS_GROWING,
    LEASES_EXPIRING,
    OUTBOX_STUCK,
    PROJECTION_LAGGING,
    HEARTBEAT_STALLED,
    BACKEND_UNREACHABLE,
    QUEUE_PAUSED_LONG,
    WATCHDOG,
)
"""Every alert about the system itself; those about what it runs on are Prometheus's alone."""
