"""Alerts as they are shown: from Alertmanager where there is one, or found by the system itself."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
import structlog

from observatory.core.alert import WATCHDOG, Alert, Alerting
from observatory.core.instant import optional_rfc3339, seconds_between, to_rfc3339
from observatory.runtime.loop import Loop

_log = structlog.get_logger(__name__)

_ASK_AGAIN_S: Final = 5.0
_UNWATCHED: Final = (
    f"Alertmanager knows no {WATCHDOG.name}, which fires always: Prometheus does not reach it, "
    "or has not these rules"
)


class Known(msgspec.Struct, frozen=True):
    """Alerts that fire, and how that is known."""

    source: str
    """alertmanager, embedded or none."""
    alerts: tuple[Alert, ...] = ()
    looked_at: int | None = None
    """When the source was asked last and answered; None before that."""
    silenced: int = 0
    """How many more fire and are silenced; none where nobody can silence."""
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


class AlertsElsewhere:
    """Asks somebody else again and again, and tells what was answered last, and how long ago."""

    def __init__(self, elsewhere: Alerting, now: Callable[[], int]) -> None:
        self._elsewhere = elsewhere
        self._now = now
        self._known = Known("alertmanager", detail="Alertmanager has not answered yet")
        self.loops = (Loop("alerts", self._ask, _ASK_AGAIN_S),)

    def known(self) -> Known:
        """What was answered last."""
        return self._known

    async def _ask(self) -> None:
        try:
            firing = await self._elsewhere.firing()
        except OSError as error:
            if self._known.detail is None:
                _log.warning("alerts.not_answered", error=str(error))
            detail = f"Alertmanager does not answer: {error}"
            self._known = msgspec.structs.replace(self._known, detail=detail)
        else:
            detail = None if firing.watched else _UNWATCHED
            self._known = Known("alertmanager", firing.alerts, self._now(), firing.silenced, detail)


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
        "silenced": known.silenced,
        "detail": known.detail,
    }
