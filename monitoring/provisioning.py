"""What Grafana reads: dashboards in its classic JSON, and where it finds them and Prometheus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from observatory.core.alert import AlertRule

_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_WIDTH: Final = 12
_HEIGHT: Final = 8
_TAGS: Final = ["observatory"]


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
    """A view of the system's page, where the same is shown; empty for the dashboard's."""


@dataclass(frozen=True)
class Dashboard:
    """A page of panels."""

    uid: str
    title: str
    link: str
    """The view of the system's page for panels that name none."""
    panels: Sequence[Panel]


def document(dashboard: Dashboard, page: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it; `page` is the base URL of the system's page."""
    panels: list[dict[str, Any]] = []
    for at, panel in enumerate(dashboard.panels):
        x, y = at % 2 * _WIDTH, at // 2 * _HEIGHT
        panels.append(_panel(at + 1, panel, x, y, page, dashboard.link))
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


def _panel(number: int, panel: Panel, x: int, y: int, page: str, view: str) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    links = [{"title": rule.name, "url": f"{page}{rule.runbook}"} for rule in panel.alerts]
    links.append({"title": "Show in the Observatory", "url": f"{page}{panel.link or view}"})
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


def files() -> dict[str, Any]:
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
