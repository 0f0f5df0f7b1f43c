"""A newer release is rolled out: the store is migrated, and every service in turn is told to end and
started anew, while jobs come."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from catalogue import fired
from installation import SERVICES, Installation, Servers, servers
from newer_release import SCHEMA, newer_release

pytestmark = pytest.mark.slow

OF_A_NEWER_RELEASE = "store.newer_schema"
"""Said by a service that starts on a schema that is newer than its own."""


@pytest.fixture
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


def test_every_service_restarted_as_a_newer_release_under_load_loses_and_doubles_nothing(
    tmp_path: Path, on: Servers
) -> None:
    """Clients know one gateway only and submit again, under the same key, what it did not answer."""
    newer = newer_release(tmp_path / "newer")
    with Installation(tmp_path, on, seed=20261127, pace_s=0.4, lease_s=15) as system:
        system.stream.start()
        system.under_load()
        assert SCHEMA in system.migrate(**newer)
        system.under_load()
        assert not any(OF_A_NEWER_RELEASE in one.output for one in system.services.values())

        # An old one that ends between the migration and its turn comes back as it was.
        gateway = system.services["gateway"]
        assert gateway.stop() == 0, gateway.output[-3000:]
        gateway.start()
        assert OF_A_NEWER_RELEASE in gateway.output
        assert SCHEMA in system.migrate(), "the Job of the old release, applied again"

        for name in SERVICES:
            system.under_load()
            accepted = system.stream.client.acknowledged
            service = system.services[name]
            assert service.stop() == 0, f"{name}:\n{service.output[-3000:]}"
            if name != "gateway":
                system.under_load(accepted=5)
                fired(system.stream.client.acknowledged > accepted, f"nothing came without {name}")
            service.configure(**newer)
            said = len(service.output)
            service.start()
            assert OF_A_NEWER_RELEASE not in service.output[said:], f"{name} is none of the newer"
        system.seconds_to_recover()
        verdict = system.end()

    verdict.demand()
    assert verdict.counts["attempts lost"] == 0, "a processor ended before its handlers had"
    assert verdict.counts["acknowledged"] >= 30 * len(SERVICES)
