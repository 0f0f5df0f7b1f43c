"""Grafana's dashboards, as the classic JSON that it provisions from files.

Every panel has one question for a title, and queries that a test puts to a live Prometheus. Rates
and errors stand on top, what is behind them below; limits are those of the alerts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitoring import rules
from observatory.core import alert as known
from observatory.core.alert import AlertRule

_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_WIDTH: Final = 12
_HEIGHT: Final = 8
_TAGS: Final = ["observatory"]
_ONE: Final = "max without (instance, pod, service)"


@dataclass(frozen=True)
class Panel:
    """One question and the queries that answer it, each with a legend."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    limit: float | None = None
    """From here on it is bad."""
    alerts: Sequence[AlertRule] = ()
    """Those that fire when it is; it leads to their runbooks."""
    link: str = ""
    """A view of the system's page, where the same is shown."""


@dataclass(frozen=True)
class Dashboard:
    """A page of panels."""

    uid: str
    title: str
    panels: Sequence[Panel]


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
            link="/#/",
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
            alerts=(
                known.FAILURE_RATIO_HIGH,
                known.FAILURE_RATIO_RAISED,
            ),
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
            link="/#/",
        ),
    ),
)

QUEUES: Final = Dashboard(
    "observatory-queues",
    "Observatory / Queues",
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
            alerts=(
                known.BACKLOG_GROWING,
                known.QUEUE_PAUSED_LONG,
            ),
            link="/#/queues",
        ),
        Panel(
            "How much comes into each queue?",
            {"{{queue}}": f"queue:observatory_jobs_submitted:rate5m{{{_QUEUE}}}"},
            unit="ops",
            link="/#/queues",
        ),
        Panel(
            "How much is done of each queue?",
            {"{{queue}} {{outcome}}": f"{_FINISHED}{{{_QUEUE}}}"},
            unit="ops",
            alerts=(known.NO_PROCESSORS,),
            link="/#/queues",
        ),
        Panel(
            "How long do jobs run?",
            _quantiles("execution"),
            unit="s",
            link="/#/queues",
        ),
        Panel(
            "How long do jobs wait?",
            _quantiles("queue_wait"),
            unit="s",
            alerts=(known.BACKLOG_GROWING,),
            link="/#/queues",
        ),
    ),
)

PROCESSORS: Final = Dashboard(
    "observatory-processors",
    "Observatory / Processors",
    (
        Panel(
            "Who is at work?",
            {"{{state}}": f"{_ONE} (observatory_workers)"},
            alerts=(known.NO_PROCESSORS,),
            link="/#/workers",
        ),
        Panel(
            "Are there slots free?",
            {"{{state}}": f"{_ONE} (observatory_worker_slots)"},
            link="/#/workers",
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
            link="/#/workers",
        ),
        Panel(
            "How much processor time do they take?",
            {
                "{{service}} {{instance}}": (
                    'rate(process_cpu_seconds_total{job="observatory"}[5m])'
                ),
            },
            link="/#/workers",
        ),
        Panel(
            "How much memory?",
            {"{{service}} {{instance}}": 'process_resident_memory_bytes{job="observatory"}'},
            unit="bytes",
            link="/#/workers",
        ),
    ),
)

HEALTH: Final = Dashboard(
    "observatory-health",
    "Observatory / Its own health",
    (
        Panel(
            "Does every process answer?",
            {"{{service}} {{instance}}": 'up{job="observatory"}'},
            alerts=(known.SERVICE_DOWN,),
            link="/#/system",
        ),
        Panel(
            "Does each reach its backends?",
            {"{{service}} {{backend}}": "min by (service, backend) (observatory_backend_up)"},
            alerts=(known.BACKEND_UNREACHABLE,),
            link="/#/system",
        ),
        Panel(
            "How much is recorded and not published?",
            {"commits": f"{_ONE} (observatory_outbox_pending)"},
            alerts=(known.OUTBOX_STUCK,),
            link="/#/system",
        ),
        Panel(
            "How far are the numbers behind the log?",
            {"messages": f"{_ONE} (observatory_projection_lag_messages)"},
            alerts=(
                known.PROJECTION_LAGGING,
                known.NUMBERS_MISSING,
            ),
            link="/#/system",
        ),
        Panel(
            "What could nobody read?",
            {"dead letters": f"{_ONE} (observatory_dead_letters)"},
            alerts=(known.DEAD_LETTERS_GROWING,),
            link="/#/system",
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
            link="/#/system",
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
    (
        Panel(
            "Does every exporter answer?",
            {"{{job}} {{instance}}": f'up{{job=~"{"|".join(rules.BACKENDS)}"}}'},
            alerts=(rules.EXPORTER_DOWN,),
            link="/#/system",
        ),
        Panel(
            "Does RabbitMQ take messages?",
            {
                "memory alarm": "rabbitmq_alarms_memory_used_watermark",
                "disk alarm": "rabbitmq_alarms_free_disk_space_watermark",
            },
            limit=1,
            alerts=(rules.BROKER_ALARM,),
            link="/#/system",
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
            alerts=(
                rules.BROKER_MEMORY_HIGH,
                rules.BROKER_DISK_LOW,
            ),
            link="/#/system",
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
            link="/#/system",
        ),
        Panel(
            "Who is connected to PostgreSQL?",
            {"{{state}}": "sum by (state) (pg_stat_activity_count)"},
            alerts=(rules.POSTGRES_CONNECTIONS_HIGH,),
            link="/#/system",
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
            link="/#/system",
        ),
        Panel(
            "How many transactions a second?",
            {"{{datname}}": "sum by (datname) (rate(pg_stat_database_xact_commit[5m]))"},
            unit="ops",
            link="/#/system",
        ),
        Panel(
            "How much memory does Redis use?",
            {"{{instance}}": "redis_memory_used_bytes"},
            unit="bytes",
            alerts=(rules.REDIS_MEMORY_HIGH,),
            link="/#/system",
        ),
        Panel(
            "Does Redis throw keys away?",
            {"{{instance}}": "rate(redis_evicted_keys_total[5m])"},
            unit="ops",
            alerts=(rules.REDIS_EVICTING,),
            link="/#/system",
        ),
        Panel(
            "How many requests come through the edge?",
            {"{{instance}}": "rate(nginx_http_requests_total[5m])"},
            unit="reqps",
            alerts=(rules.EDGE_UNAVAILABLE,),
            link="/#/system",
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
            link="/#/system",
        ),
    ),
)

ALL: Final = (OVERVIEW, QUEUES, PROCESSORS, HEALTH, BACKENDS)


def document(dashboard: Dashboard, page: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it; `page` is the base URL of the system's page."""
    panels: list[dict[str, Any]] = []
    for at, panel in enumerate(dashboard.panels):
        x, y = at % 2 * _WIDTH, at // 2 * _HEIGHT
        panels.append(_panel(at + 1, panel, x, y, page))
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": _TAGS,
        "schemaVersion": 39,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "links": [
            {"title": "Observatory", "type": "link", "url": page, "targetBlank": True},
            {"title": "Dashboards", "type": "dashboards", "tags": _TAGS},
        ],
        "templating": {"list": [_queue_variable()]},
        "panels": panels,
    }


def _queue_variable() -> dict[str, Any]:
    query = "label_values(queue_state:observatory_jobs:max, queue)"
    return {
        "name": "queue",
        "label": "Queue",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "queues"},
        "definition": query,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _panel(number: int, panel: Panel, x: int, y: int, page: str) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    links = [{"title": rule.name, "url": f"{page}{rule.runbook}"} for rule in panel.alerts]
    if panel.link:
        links.append({"title": "Show in the Observatory", "url": f"{page}{panel.link}"})
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "links": links,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {
                    "fillOpacity": 8,
                    "thresholdsStyle": {"mode": "line" if panel.limit is not None else "off"},
                },
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": expr, "legendFormat": legend}
            for at, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def provisioning() -> dict[str, Any]:
    """Grafana's provisioning files, by path."""
    return {
        "grafana/provisioning/datasources/prometheus.yml": {
            "apiVersion": 1,
            "datasources": [
                {
                    "name": "Prometheus",
                    "uid": "prometheus",
                    "type": "prometheus",
                    "access": "proxy",
                    "url": "http://prometheus:9090",
                    "isDefault": True,
                }
            ],
        },
        "grafana/provisioning/dashboards/observatory.yml": {
            "apiVersion": 1,
            "providers": [
                {
                    "name": "observatory",
                    "folder": "Observatory",
                    "type": "file",
                    "options": {"path": "/etc/grafana/dashboards"},
                }
            ],
        },
    }
