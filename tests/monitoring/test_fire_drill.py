"""The fire drill in its short form; `fire_drill.py` causes every fault there is an alert for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drill import DRILLS, Site, drill, site, until

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
    ["ObservatoryHeartbeatStalled", "ObservatoryOutboxStuck", "ObservatoryProjectionLagging"],
)
def test_an_alert_fires_is_delivered_shown_and_resolved(alert: str, at: Site) -> None:
    drill(at, alert)


def test_every_alert_of_the_system_has_a_drill() -> None:
    assert set(DRILLS) == {rule.name for rule in known.RULES} - {known.WATCHDOG.name}
