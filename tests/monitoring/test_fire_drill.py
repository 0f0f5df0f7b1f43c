"""The fire drill in its short form; `fire_drill.py` causes every fault there is an alert for."""

import math
from collections.abc import Iterator

import pytest
from drill import DRILLS, Site, drill, site, until

from monitoring import dashboards
from monitoring.rules import names
from observatory.core import alert as known

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("drill")) as at:
        yield at


def test_the_watchdog_arrives(at: Site) -> None:
    until(lambda: at.receiver.heard("ObservatoryWatchdog", "firing", 0), timeout_s=60)


@pytest.mark.parametrize(
    "alert",
    ["ObservatoryHeartbeatStalled", "ObservatoryProjectionLagging"],
)
def test_an_alert_fires_is_delivered_shown_and_resolved(alert: str, at: Site) -> None:
    drill(at, alert)


def test_every_panel_of_every_dashboard_has_data(at: Site) -> None:
    # Windows are as long as the drill lasts, not as the dashboards'. Jobs come all the while: what
    # is counted in so short a window is there for a few seconds only, and not for all at once.
    empty = {
        f"{board.title}: {panel.title}: {expr}": drilled(expr)
        for board in dashboards.ALL
        for panel in board.panels
        for expr in panel.queries.values()
    }

    def every_panel_had_data() -> bool:
        at.submit("flaky", 5)
        for panel, expr in list(empty.items()):
            if any(
                math.isfinite(float(sample["value"][1])) for sample in at.prometheus.query(expr)
            ):
                del empty[panel]
        return not empty

    until(every_panel_had_data, timeout_s=60, why=lambda: "\n".join(empty))


def drilled(expr: str) -> str:
    return expr.replace("$queue", ".*").replace("[5m]", "[5s]").replace("[10m]", "[10s]")


def test_every_alert_has_a_drill() -> None:
    assert set(DRILLS) == set(names()) - {known.WATCHDOG.name}
