"""Alerts as they are shown: from Alertmanager where there is one, or found by the system itself."""

from typing import Any, Protocol

import msgspec

from observatory.core.alert import Alert
from observatory.core.instant import optional_rfc3339, seconds_between, to_rfc3339
from observatory.runtime.loop import Loop


class Known(msgspec.Struct, frozen=True):
    """Alerts that fire, and how that is known."""

    source: str
    """alertmanager, embedded or none."""
    alerts: tuple[Alert, ...] = ()
    looked_at: int | None = None
    """When the source was asked last and answered; None before that."""
    detail: str | None = None
    """Why there may be alerts that are not told of."""


class AlertSource(Protocol):
    """Whoever knows which alerts fire."""

    @property
    def loops(self) -> tuple[Loop, ...]:
        """What must turn for it to know."""
        ...

    def known(self) -> Known:
        """What it knows now, without asking anyone."""
        ...


class NoAlerts:
    """Nobody looks for alerts."""

    loops: tuple[Loop, ...] = ()

    def known(self) -> Known:
        """Nothing, and why."""
        return Known(
            "none",
            detail="no alerts are known here: set OBSERVATORY_ALERTMANAGER_URL to Alertmanager's",
        )


def shown(known: Known, now: int) -> dict[str, Any]:
    """The body of ``GET /alerts``; critical ones first, then the longest lasting."""
    order = {"critical": 0, "warning": 1, "info": 2}
    alerts = sorted(known.alerts, key=lambda a: (order.get(a.severity, 3), a.since, a.name))
    return {
        "items": [
            {
                "name": alert.name,
                "severity": alert.severity,
                "since": to_rfc3339(alert.since),
                "summary": alert.summary,
                "description": alert.description,
                "runbook": alert.runbook,
                "labels": alert.labels,
            }
            for alert in alerts
        ],
        "next": None,
        "asOf": to_rfc3339(now),
        "source": known.source,
        "sourceAsOf": optional_rfc3339(known.looked_at),
        "ageSeconds": seconds_between(known.looked_at, now),
        "detail": known.detail,
    }
