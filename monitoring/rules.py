"""Prometheus rules: recording rules, and the alerts of `observatory.core.alert` in PromQL.

Names of recording rules are `level:metric:operation` (Prometheus, "Recording rules"). Failure
ratios are watched over two windows at once (Google SRE workbook, "Alerting on SLOs", section 5):
the long one says that it matters, the short one that it still goes on.

Every duration goes through `Pace`, so that a fire drill can have minutes pass in seconds with
the same expressions.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from observatory.core import alert as known
from observatory.core.alert import AlertRule, Severity
from observatory.core.canary import HEARTBEAT_JOB
from observatory.core.job_type import DEFAULT_QUEUE

TARGETS: Final = 'job="observatory"'
"""How the scrape configurations call the system's own processes."""

BACKENDS: Final = ("rabbitmq", "postgres", "redis", "nginx")
"""How they call what the system runs on."""

_RATIOS: Final = (known.FAILURE_RATIO_HIGH, known.FAILURE_RATIO_RAISED)
_WHOLE: Final = 'printf "%.0f"'
_SHOWN_AS: Final = {
    known.BACKLOG_GROWING.name: "humanizeDuration",
    known.LATENCY_HIGH.name: "humanizeDuration",
    known.OUTBOX_STUCK.name: "humanizeDuration",
    known.HEARTBEAT_STALLED.name: "humanizeDuration",
    known.QUEUE_PAUSED_LONG.name: "humanizeDuration",
    known.FAILURE_RATIO_HIGH.name: "humanizePercentage",
    "ObservatoryPostgresConnectionsHigh": "humanizePercentage",
    "ObservatoryBrokerMemoryHigh": "humanizePercentage",
    "ObservatoryRedisMemoryHigh": "humanizePercentage",
    "ObservatoryPostgresReplicationLagging": "humanize1024",
    known.FAILURE_RATIO_RAISED.name: "humanizePercentage",
    # An increase is extrapolated, and nobody loses 3.004 runs.
    known.LEASES_EXPIRING.name: _WHOLE,
    known.DEAD_LETTERS_GROWING.name: _WHOLE,
    "ObservatoryBrokerUnacked": _WHOLE,
}

# What several processes tell of the same thing counts once.
_ONE: Final = "max without (instance, pod, service)"

# Heartbeat jobs go well while all else fails, and would hide it.
_USERS: Final = f'job_type!="{HEARTBEAT_JOB}"'


@dataclass(frozen=True)
class Pace:
    """How fast time passes in the rules; 1 is real time."""

    factor: float = 1.0
    least_s: float = 1.0
    """No window is shorter, or it would hold no two samples."""
    oldest_s: float = float("inf")
    """No age need be waited for longer."""

    def time(self, seconds: float) -> str:
        """A duration of the rules, as Prometheus writes it."""
        if not seconds:
            return "0s"
        scaled = round(max(seconds / self.factor, self.least_s))
        for unit, size in (("h", 3600), ("m", 60)):
            if scaled % size == 0:
                return f"{scaled // size}{unit}"
        return f"{scaled}s"

    def age(self, seconds: float) -> str:
        """A limit on an age, in seconds."""
        return f"{min(max(seconds / self.factor, 1.0), self.oldest_s):g}"


REAL_TIME: Final = Pace()


def rules(pace: Pace = REAL_TIME, page: str = "") -> dict[str, Any]:
    """The rule file of Prometheus.

    Args:
        pace: how fast time passes.
        page: base URL of the system's page, where runbooks and jobs are shown.
    """
    return {
        "groups": [
            {"name": "observatory-recording", "rules": _recording(pace)},
            {"name": "observatory-alerts", "rules": _alerts(pace, page)},
            {"name": "observatory-backends", "rules": _alerts_of_backends(pace, page)},
        ]
    }


def _recorded(name: str, expr: str) -> dict[str, str]:
    return {"record": name, "expr": expr}


def _recording(pace: Pace) -> list[dict[str, str]]:
    five = pace.time(300)
    found = [
        _recorded(
            "queue_state:observatory_jobs:max",
            f"sum without (job_type) ({_ONE} (observatory_jobs_in_state))",
        ),
        _recorded(
            "queue:observatory_oldest_ready_job_age_seconds:max",
            "time() - min without (instance, pod, service) "
            "(observatory_oldest_ready_job_timestamp_seconds)",
        ),
        _recorded(
            "queue:observatory_jobs_submitted:rate5m",
            f"sum without (job_type) ({_ONE} (rate(observatory_jobs_submitted_total[{five}])))",
        ),
        _recorded(
            "queue_outcome:observatory_jobs_finished:rate5m",
            f"sum without (job_type) ({_ONE} (rate(observatory_jobs_finished_total[{five}])))",
        ),
    ]
    for measure in ("queue_wait", "execution", "end_to_end"):
        metric = f"observatory_job_{measure}_seconds"
        found.append(
            _recorded(
                f"queue_le:{metric}_bucket:rate5m",
                f"sum without (job_type) ({_ONE} (rate({metric}_bucket{{{_USERS}}}[{five}])))",
            )
        )
    for window in sorted({w for rule in _RATIOS for w in (rule.window_s, rule.short_window_s)}):
        found += _failures(pace, window)
    return found


def _failures(pace: Pace, window_s: int) -> list[dict[str, str]]:
    span, label = pace.time(window_s), REAL_TIME.time(window_s)
    finished = f"increase(observatory_jobs_finished_total{{{_USERS}}}[{span}])"
    failed = f'increase(observatory_jobs_finished_total{{outcome="failed",{_USERS}}}[{span}])'
    both = {"failed": failed, "finished": finished}
    increase = f"increase{label}"
    # Numerator and denominator apart: a ratio of ratios is no ratio.
    sums = {
        name: f"sum without (queue, job_type, outcome) ({_ONE} ({expr}))"
        for name, expr in both.items()
    }
    return [
        _recorded(f"observatory:jobs_finished:{increase}", sums["finished"]),
        _recorded(f"observatory:jobs_failed:{increase}", sums["failed"]),
        _recorded(
            f"observatory:jobs_failed_per_finished:ratio_rate{label}",
            f"observatory:jobs_failed:{increase} / (observatory:jobs_finished:{increase} > 0)",
        ),
    ]


def _burning(rule: AlertRule) -> str:
    long, short = rule.window_s, rule.short_window_s
    ratio, count = "observatory:jobs_failed_per_finished:ratio_rate", REAL_TIME.time
    return (
        f"{ratio}{count(long)} > {rule.limit:g} and {ratio}{count(short)} > {rule.limit:g}"
        f" and observatory:jobs_failed:increase{count(long)} >= {known.FEW_FAILURES}"
    )


def _runs_for(told: str) -> str:
    """For how long the oldest process that tells this metric has run; nothing where none does."""
    return f'(time() - min (process_start_time_seconds{{service!=""}} and on (instance) {told}))'


def _expressions(pace: Pace) -> dict[str, str]:
    time, age = pace.time, pace.age
    backlog, latency = known.BACKLOG_GROWING, known.LATENCY_HIGH
    oldest = "queue:observatory_oldest_ready_job_age_seconds:max"
    queued = 'queue_state:observatory_jobs:max{state="queued"}'
    newest = "observatory_projection_last_event_timestamp_seconds"
    # A gateway that has ended does not take what it was set to along at once.
    interval = f"max (max_over_time(observatory_heartbeat_interval_seconds[{time(600)}]))"
    # Where heartbeat jobs are off nothing is to be seen, and where they are rare, seldom.
    stalled = f"clamp_min(3 * ({interval} > 0), {age(known.HEARTBEAT_STALLED.limit)})"
    seen = "observatory_heartbeat_last_seen_timestamp_seconds"
    # Behind a paused queue they wait, as told to, and for a moment after it was resumed.
    paused = (
        "max_over_time(observatory_queue_paused_since_timestamp_seconds"
        f'{{queue="{DEFAULT_QUEUE}"}}[{time(known.HEARTBEAT_STALLED.limit)}])'
    )
    # They are told of by the engine, which sees nothing while it does not reach what it reads and
    # adds to: that has an alert of its own.
    blind = (
        'max (min by (instance) (observatory_backend_up{backend=~"aggregates|spine"}'
        f" and on (instance) {seen})) == 0"
    )
    submitting = _runs_for("observatory_heartbeat_interval_seconds > 0")
    watching = _runs_for("observatory_log_applied_offset")
    return {
        known.SERVICE_DOWN.name: f"up{{{TARGETS}}} == 0",
        known.NUMBERS_MISSING.name: "absent(observatory_log_applied_offset)",
        known.NO_PROCESSORS.name: (f'{_ONE} (observatory_workers{{state="active"}}) == 0'),
        known.BACKLOG_GROWING.name: (
            f"({oldest} > {age(backlog.limit)} and on (queue, namespace) "
            f"(deriv({queued}[{time(backlog.window_s)}]) > 0))"
            # What nobody takes need not grow.
            f" or {oldest} > {age(known.STUCK_S)}"
        ),
        known.LATENCY_HIGH.name: (
            "histogram_quantile(0.95, queue_le:observatory_job_end_to_end_seconds_bucket:rate5m)"
            f" > {age(latency.limit)}"
        ),
        **{rule.name: _burning(rule) for rule in _RATIOS},
        known.DEAD_LETTERS_GROWING.name: (
            f"{_ONE} (delta(observatory_dead_letters[{time(known.DEAD_LETTERS_GROWING.window_s)}]))"
            " > 0"
        ),
        known.LEASES_EXPIRING.name: (
            "sum without (queue, job_type) ("
            f"{_ONE} (increase(observatory_job_attempts_lost_total"
            f"[{time(known.LEASES_EXPIRING.window_s)}]))) > {known.LEASES_EXPIRING.limit:g}"
        ),
        known.OUTBOX_STUCK.name: (
            "time() - min without (instance, pod, service) "
            f"(observatory_outbox_oldest_timestamp_seconds) > {age(known.OUTBOX_STUCK.limit)}"
        ),
        known.PROJECTION_LAGGING.name: (
            # An engine that has applied nothing since it started tells no time.
            f"{_ONE} (min_over_time(observatory_projection_lag_messages"
            f"[{time(known.PROJECTION_LAGGING.limit)}])) > 0"
            f" unless time() - {_ONE} ({newest}) < {age(known.PROJECTION_LAGGING.limit)}"
        ),
        known.HEARTBEAT_STALLED.name: (
            f'time() - {_ONE} (({seen}{{stage="accepted"}} or {seen} unless on () {paused})'
            f" unless on () ({blind}))"
            f" > on () group_left () {stalled}"
            # None has ever come through, though a gateway has long been at it.
            f" or label_replace({submitting} > {stalled}"
            # Only an engine could have seen one, and it knows none of before its own start.
            f" and on () {watching} > {stalled}, "
            '"stage", "completed", "", "")'
            f' unless on () {seen}{{stage="completed"}} unless on () {paused}'
        ),
        known.BACKEND_UNREACHABLE.name: "observatory_backend_up == 0",
        known.QUEUE_PAUSED_LONG.name: (
            "time() - min without (instance, pod, service) "
            "(observatory_queue_paused_since_timestamp_seconds)"
            f" > {age(known.QUEUE_PAUSED_LONG.limit)}"
        ),
        known.WATCHDOG.name: "vector(1)",
    }


def _alerts(pace: Pace, page: str) -> list[dict[str, Any]]:
    expressions = _expressions(pace)
    return [_alert(rule, expressions[rule.name], pace, page) for rule in known.RULES]


def _alert(rule: AlertRule, expr: str, pace: Pace, page: str) -> dict[str, Any]:
    shown = _SHOWN_AS.get(rule.name, "humanize")
    return {
        "alert": rule.name,
        "expr": expr,
        "for": pace.time(rule.for_s),
        "labels": {"severity": rule.severity.value},
        "annotations": {
            "summary": _templated(rule.summary, shown),
            "description": _templated(rule.description, shown),
            "runbook_url": f"{page}{rule.runbook}",
        },
    }


def _templated(text: str, shown: str) -> str:
    """`{queue}` → the label, `{value}` → the value in its unit."""
    text = text.replace("{value}", f"{{{{ $value | {shown} }}}}")
    return re.sub(r"(?<!\{)\{([a-z]+)\}(?!\})", r"{{ $labels.\1 }}", text)


# What the system runs on. Their exporters are their own: RabbitMQ's plugin, and the exporters
# for PostgreSQL, Redis and nginx.

BROKER_ALARM: Final = AlertRule(
    "ObservatoryBrokerAlarm",
    Severity.CRITICAL,
    "RabbitMQ takes no messages: it lacks memory or disk",
    "RabbitMQ has raised its memory or disk alarm and blocks publishers. Jobs are accepted and "
    "stay in the outbox until it ends.",
    for_s=0,
)
BROKER_DISK_LOW: Final = AlertRule(
    "ObservatoryBrokerDiskLow",
    Severity.WARNING,
    "RabbitMQ has {value} times as much disk as it stops at",
    "RabbitMQ has less than three times the free disk below which it blocks publishers.",
    for_s=300,
    limit=3.0,
)
BROKER_UNACKED: Final = AlertRule(
    "ObservatoryBrokerUnacked",
    Severity.WARNING,
    "{value} messages were delivered and not acknowledged for a quarter of an hour",
    "A work message is acknowledged when its jobs are claimed, within milliseconds. Messages that "
    "stay unacknowledged are held by a processor that does not claim.",
    for_s=900,
    limit=1000.0,
)
POSTGRES_CONNECTIONS_HIGH: Final = AlertRule(
    "ObservatoryPostgresConnectionsHigh",
    Severity.WARNING,
    "PostgreSQL has {value} of its connections in use",
    "More than four fifths of PostgreSQL's connections are taken; beyond, no process can connect.",
    for_s=300,
    limit=0.8,
)
REDIS_EVICTING: Final = AlertRule(
    "ObservatoryRedisEvicting",
    Severity.WARNING,
    "Redis throws {value} keys a second away",
    "Redis evicts keys for want of memory. The numbers are counted anew, and wrong until then.",
    for_s=0,
)
BROKER_MEMORY_HIGH: Final = AlertRule(
    "ObservatoryBrokerMemoryHigh",
    Severity.WARNING,
    "RabbitMQ uses {value} of the memory it stops at",
    "RabbitMQ uses more than four fifths of the memory at which it blocks publishers.",
    for_s=300,
    limit=0.8,
)
REDIS_MEMORY_HIGH: Final = AlertRule(
    "ObservatoryRedisMemoryHigh",
    Severity.WARNING,
    "Redis uses {value} of the memory it may",
    "Redis uses more than nine tenths of its maxmemory; beyond, it refuses writes or throws keys "
    "away, and the numbers stand still or are counted anew.",
    for_s=300,
    limit=0.9,
)
REPLICATION_LAGGING: Final = AlertRule(
    "ObservatoryPostgresReplicationLagging",
    Severity.WARNING,
    "a replica of PostgreSQL is {value}B behind",
    "A replica lacks more than 64 MiB of what was written, four segments of PostgreSQL's log. A "
    "fail-over to it would lose that, or take as long as it needs to catch up.",
    for_s=300,
    limit=67_108_864.0,
)
EXPORTER_DOWN: Final = AlertRule(
    "ObservatoryExporterDown",
    Severity.WARNING,
    "nobody tells of {job} at {instance}",
    "Prometheus could not scrape the exporter of {job} at {instance} for two minutes: what is "
    "watched there is blind. The backend itself may be well.",
    for_s=120,
)
EDGE_UNAVAILABLE: Final = AlertRule(
    "ObservatoryEdgeUnavailable",
    Severity.CRITICAL,
    "the edge does not answer, or drops connections",
    "nginx does not tell its status, or closes more than one connection in a hundred unserved "
    "because it has no worker connections left. Requests do not reach the services.",
    for_s=60,
    limit=0.01,
)

_OF_BACKENDS: Final = (
    BROKER_ALARM,
    BROKER_DISK_LOW,
    BROKER_MEMORY_HIGH,
    BROKER_UNACKED,
    POSTGRES_CONNECTIONS_HIGH,
    REPLICATION_LAGGING,
    REDIS_MEMORY_HIGH,
    REDIS_EVICTING,
    EXPORTER_DOWN,
    EDGE_UNAVAILABLE,
)


def _expressions_of_backends(pace: Pace) -> dict[str, str]:
    five = pace.time(300)
    return {
        BROKER_ALARM.name: (
            "max without (instance, pod) (rabbitmq_alarms_memory_used_watermark) == 1"
            " or max without (instance, pod) (rabbitmq_alarms_free_disk_space_watermark) == 1"
        ),
        BROKER_DISK_LOW.name: (
            "rabbitmq_disk_space_available_bytes / rabbitmq_disk_space_available_limit_bytes"
            f" < {BROKER_DISK_LOW.limit:g}"
        ),
        BROKER_MEMORY_HIGH.name: (
            "rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes"
            f" > {BROKER_MEMORY_HIGH.limit:g}"
        ),
        BROKER_UNACKED.name: (
            "sum without (instance, pod) (rabbitmq_queue_messages_unacked)"
            f" > {BROKER_UNACKED.limit:g}"
        ),
        POSTGRES_CONNECTIONS_HIGH.name: (
            # Which other labels there are depends on the exporter's version.
            "sum by (instance) (pg_stat_activity_count)"
            " / max by (instance) (pg_settings_max_connections)"
            f" > {POSTGRES_CONNECTIONS_HIGH.limit:g}"
        ),
        REPLICATION_LAGGING.name: (
            f"pg_stat_replication_pg_wal_lsn_diff > {REPLICATION_LAGGING.limit:.0f}"
        ),
        REDIS_MEMORY_HIGH.name: (
            # Without a limit it tells zero.
            f"redis_memory_used_bytes / (redis_memory_max_bytes > 0) > {REDIS_MEMORY_HIGH.limit:g}"
        ),
        EXPORTER_DOWN.name: f'up{{job=~"{"|".join(BACKENDS)}"}} == 0',
        REDIS_EVICTING.name: f"rate(redis_evicted_keys_total[{five}]) > 0",
        EDGE_UNAVAILABLE.name: (
            f"nginx_up == 0 or 1 - rate(nginx_connections_handled[{five}])"
            f" / rate(nginx_connections_accepted[{five}]) > {EDGE_UNAVAILABLE.limit:g}"
        ),
    }


def _alerts_of_backends(pace: Pace, page: str) -> list[dict[str, Any]]:
    expressions = _expressions_of_backends(pace)
    return [_alert(rule, expressions[rule.name], pace, page) for rule in _OF_BACKENDS]


def names() -> list[str]:
    """Every alert there is."""
    return [*(rule.name for rule in known.RULES), *(rule.name for rule in _OF_BACKENDS)]
