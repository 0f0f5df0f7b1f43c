"""The dashboards for Grafana.

Every panel has one question for a title, and queries that a test puts to a live Prometheus. Rates
and errors stand on top, what is behind them below; limits are those of the alerts.
"""

from typing import Final

from monitoring import rules
from monitoring.provisioning import Dashboard, Panel
from observatory.core import alert as known

_ONE: Final = "max without (instance, pod, service)"


def _quantiles(measure: str) -> dict[str, str]:
    metric = f"queue_le:observatory_job_{measure}_seconds_bucket:rate5m"
    return {
        f"p{round(100 * q)} {{{{queue}}}}": f"histogram_quantile({q}, {metric}{{{_QUEUE}}})"
        for q in (0.5, 0.95)
    }


_QUEUE: Final = 'queue=~"$queue"'
_WORK_QUEUES: Final = r"observatory\\.work\\..+"
_STATES: Final = f"sum by (state) (queue_state:observatory_jobs:max{{{_QUEUE}}})"
_FINISHED: Final = "queue_outcome:observatory_jobs_finished:rate5m"

OVERVIEW: Final = Dashboard(
    "observatory-overview",
    "Observatory / Overview",
    "/#/",
    (
        Panel(
            "Does work come through?",
            {
                "{{stage}}": f"time() - {_ONE} (observatory_heartbeat_last_seen_timestamp_seconds)",
            },
            unit="s",
            about="How long ago a heartbeat job was last seen at each stage.",
            limit=known.HEARTBEAT_STALLED.limit,
            alerts=(known.HEARTBEAT_STALLED,),
            link="/#/system",
        ),
        Panel(
            "How much comes in, how much is done?",
            {
                "submitted": f"sum (queue:observatory_jobs_submitted:rate5m{{{_QUEUE}}})",
                "{{outcome}}": f"sum by (outcome) ({_FINISHED}{{{_QUEUE}}})",
            },
            unit="ops",
        ),
        Panel(
            "What waits, what runs?",
            {"{{state}}": _STATES},
            link="/#/jobs",
        ),
        Panel(
            "How many of those that end fail?",
            {
                window: f"observatory:jobs_failed_per_finished:ratio_rate{window}"
                for window in ("5m", "1h")
            },
            unit="percentunit",
            limit=known.FAILURE_RATIO_HIGH.limit,
            alerts=(known.FAILURE_RATIO_HIGH, known.FAILURE_RATIO_RAISED),
            link="/#/jobs?state=failed",
        ),
        Panel(
            "How long do jobs wait?",
            _quantiles("queue_wait"),
            unit="s",
            alerts=(known.BACKLOG_GROWING,),
            link="/#/queues",
        ),
        Panel(
            "How long from submit to end?",
            _quantiles("end_to_end"),
            unit="s",
            limit=known.LATENCY_HIGH.limit,
            alerts=(known.LATENCY_HIGH,),
        ),
    ),
)

QUEUES: Final = Dashboard(
    "observatory-queues",
    "Observatory / Queues",
    "/#/queues",
    (
        Panel(
            "How many wait in each queue?",
            {"{{queue}}": f'queue_state:observatory_jobs:max{{state="queued",{_QUEUE}}}'},
            alerts=(known.BACKLOG_GROWING,),
            link="/#/jobs?state=queued",
        ),
        Panel(
            "How long has the oldest waited?",
            {"{{queue}}": f"queue:observatory_oldest_ready_job_age_seconds:max{{{_QUEUE}}}"},
            unit="s",
            limit=known.BACKLOG_GROWING.limit,
            alerts=(known.BACKLOG_GROWING, known.QUEUE_PAUSED_LONG),
        ),
        Panel(
            "How much comes into each queue?",
            {"{{queue}}": f"queue:observatory_jobs_submitted:rate5m{{{_QUEUE}}}"},
            unit="ops",
        ),
        Panel(
            "How much is done of each queue?",
            {"{{queue}} {{outcome}}": f"{_FINISHED}{{{_QUEUE}}}"},
            unit="ops",
            alerts=(known.NO_PROCESSORS,),
        ),
        Panel(
            "How long do jobs run?",
            _quantiles("execution"),
            unit="s",
        ),
        Panel(
            "How long do jobs wait?",
            _quantiles("queue_wait"),
            unit="s",
            alerts=(known.BACKLOG_GROWING,),
        ),
    ),
)

PROCESSORS: Final = Dashboard(
    "observatory-processors",
    "Observatory / Processors",
    "/#/workers",
    (
        Panel(
            "Who is at work?",
            {"{{state}}": f"{_ONE} (observatory_workers)"},
            alerts=(known.NO_PROCESSORS,),
        ),
        Panel(
            "Are there slots free?",
            {"{{state}}": f"{_ONE} (observatory_worker_slots)"},
        ),
        Panel(
            "How often are attempts repeated?",
            {
                "attempts": f"sum ({_ONE} (rate(observatory_job_attempts_total{{{_QUEUE}}}[5m])))",
                "retries": f"sum ({_ONE} (rate(observatory_job_retries_total{{{_QUEUE}}}[5m])))",
            },
            unit="ops",
            link="/#/jobs?state=retrying",
        ),
        Panel(
            "Are runs lost with their workers?",
            {"lost": f"sum ({_ONE} (increase(observatory_job_attempts_lost_total[10m])))"},
            limit=known.LEASES_EXPIRING.limit,
            alerts=(known.LEASES_EXPIRING,),
        ),
        Panel(
            "How much processor time do they take?",
            {
                "{{service}} {{instance}}": (
                    'rate(process_cpu_seconds_total{job="observatory"}[5m])'
                ),
            },
        ),
        Panel(
            "How much memory?",
            {"{{service}} {{instance}}": 'process_resident_memory_bytes{job="observatory"}'},
            unit="bytes",
        ),
    ),
)

HEALTH: Final = Dashboard(
    "observatory-health",
    "Observatory / Its own health",
    "/#/system",
    (
        Panel(
            "Does every process answer?",
            {"{{service}} {{instance}}": 'up{job="observatory"}'},
            alerts=(known.SERVICE_DOWN,),
        ),
        Panel(
            "Does each reach its backends?",
            {"{{service}} {{backend}}": "min by (service, backend) (observatory_backend_up)"},
            alerts=(known.BACKEND_UNREACHABLE,),
        ),
        Panel(
            "How much is recorded and not published?",
            {"commits": f"{_ONE} (observatory_outbox_pending)"},
            alerts=(known.OUTBOX_STUCK,),
        ),
        Panel(
            "How far are the numbers behind the log?",
            {"messages": f"{_ONE} (observatory_projection_lag_messages)"},
            alerts=(known.PROJECTION_LAGGING, known.NUMBERS_MISSING),
        ),
        Panel(
            "What could nobody read?",
            {"dead letters": f"{_ONE} (observatory_dead_letters)"},
            alerts=(known.DEAD_LETTERS_GROWING,),
        ),
        Panel(
            "How fast is HTTP answered?",
            {
                "p95 {{service}}": (
                    "histogram_quantile(0.95, sum by (service, le) "
                    "(rate(observatory_http_request_duration_seconds_bucket[5m])))"
                ),
            },
            unit="s",
        ),
        Panel(
            "Is what is published confirmed?",
            {"{{outcome}}": "sum by (outcome) (rate(observatory_events_published_total[5m]))"},
            unit="ops",
            alerts=(known.OUTBOX_STUCK,),
            link="/#/events",
        ),
        Panel(
            "Who watches live?",
            {"{{service}}": "sum by (service) (observatory_sse_clients)"},
            link="/#/events",
        ),
    ),
)

BACKENDS: Final = Dashboard(
    "observatory-backends",
    "Observatory / What it runs on",
    "/#/system",
    (
        Panel(
            "Does every exporter answer?",
            {"{{job}} {{instance}}": f'up{{job=~"{"|".join(rules.BACKENDS)}"}}'},
            alerts=(rules.EXPORTER_DOWN,),
        ),
        Panel(
            "Does RabbitMQ take messages?",
            {
                "memory alarm": "rabbitmq_alarms_memory_used_watermark",
                "disk alarm": "rabbitmq_alarms_free_disk_space_watermark",
            },
            limit=1,
            alerts=(rules.BROKER_ALARM,),
        ),
        Panel(
            "How much of what RabbitMQ stops at is left?",
            {
                "memory in use, of what it stops at": (
                    "rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes"
                ),
                "free disk, of what it stops at": (
                    "rabbitmq_disk_space_available_bytes"
                    " / rabbitmq_disk_space_available_limit_bytes"
                ),
            },
            alerts=(rules.BROKER_MEMORY_HIGH, rules.BROKER_DISK_LOW),
        ),
        Panel(
            "How much work waits in each of RabbitMQ's queues?",
            {
                "{{queue}}": (
                    "topk(20, max by (queue, namespace) (rabbitmq_detailed_queue_messages_ready"
                    f'{{queue=~"{_WORK_QUEUES}"}}))'
                )
            },
            about="Messages, each of which names one job or many; of the fullest twenty queues.",
            alerts=(known.BACKLOG_GROWING,),
            link="/#/queues",
        ),
        Panel(
            "What has RabbitMQ delivered that is not acknowledged?",
            {"messages": "sum (rabbitmq_queue_messages_unacked)"},
            alerts=(rules.BROKER_UNACKED,),
        ),
        Panel(
            "Who is connected to PostgreSQL?",
            {"{{state}}": "sum by (state) (pg_stat_activity_count)"},
            alerts=(rules.POSTGRES_CONNECTIONS_HIGH,),
        ),
        Panel(
            "How far are PostgreSQL's replicas behind?",
            # Who has no replica has no such series, and is 0 behind; of whom nobody tells is not.
            {
                "bytes": "max (pg_stat_replication_pg_wal_lsn_diff)"
                " or max (0 * pg_settings_max_connections)"
            },
            unit="bytes",
            alerts=(rules.REPLICATION_LAGGING,),
        ),
        Panel(
            "How many transactions a second?",
            {"{{datname}}": "sum by (datname) (rate(pg_stat_database_xact_commit[5m]))"},
            unit="ops",
        ),
        Panel(
            "How much memory does Redis use?",
            {"{{instance}}": "redis_memory_used_bytes"},
            unit="bytes",
            alerts=(rules.REDIS_MEMORY_HIGH,),
        ),
        Panel(
            "Does Redis throw keys away?",
            {"{{instance}}": "rate(redis_evicted_keys_total[5m])"},
            unit="ops",
            alerts=(rules.REDIS_EVICTING,),
        ),
        Panel(
            "How many requests come through the edge?",
            {"{{instance}}": "rate(nginx_http_requests_total[5m])"},
            unit="reqps",
            alerts=(rules.EDGE_UNAVAILABLE,),
        ),
        Panel(
            "Does the edge drop connections?",
            {
                "open": "sum (nginx_connections_active)",
                "dropped a second": (
                    "sum (rate(nginx_connections_accepted[5m]))"
                    " - sum (rate(nginx_connections_handled[5m]))"
                ),
            },
            alerts=(rules.EDGE_UNAVAILABLE,),
        ),
    ),
)

ALL: Final = (OVERVIEW, QUEUES, PROCESSORS, HEALTH, BACKENDS)
