"""A release is rolled out: every service in turn is told to end and started anew, while jobs come."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from catalogue import fired
from installation import SERVICES, Installation, Servers, servers

pytestmark = pytest.mark.slow


@pytest.fixture
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


def test_every_service_restarted_under_load_loses_and_doubles_nothing(
    tmp_path: Path, on: Servers
) -> None:
    """Clients know one gateway only and submit again, under the same key, what it did not answer."""
    with Installation(tmp_path, on, seed=20261127, pace_s=0.4, lease_s=15) as system:
        system.stream.start()
        for name in SERVICES:
            system.under_load()
            accepted = system.stream.client.acknowledged
            service = system.services[name]
            assert service.stop() == 0, f"{name}:\n{service.output[-3000:]}"
            if name != "gateway":
                system.under_load(accepted=5)
                fired(system.stream.client.acknowledged > accepted, f"nothing came without {name}")
            service.start()
        system.seconds_to_recover()
        verdict = system.end()

    verdict.demand()
    assert verdict.counts["attempts lost"] == 0, "a processor ended before its handlers had"
    assert verdict.counts["acknowledged"] >= 30 * len(SERVICES)
