"""The fault catalogue in its short form: a few faults one after another on one installation.

`fault_table.py` is the long form: every fault, with an installation, servers and a row of the table
for each. Of those that break the same promise in the same way one is here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from catalogue import Fault, named
from installation import Installation, Servers, servers

pytestmark = pytest.mark.slow

RECOVERED_WITHIN_S = 15.0


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(
            named(
                "gateway dies after the commit",
                "payload bombs",
                "processor dies after claiming",
                "processor dies after recording outcomes",
                "processor is frozen",
            ),
            id="services",
        ),
        pytest.param(
            named(
                "engine dies before applying",
                "Redis is emptied",
                "commits are cut off",
                "PostgreSQL is killed",
                "one key a hundred times at once",
            ),
            id="store and aggregates",
        ),
        pytest.param(
            named(
                "broker drops everybody",
                "work queues are deleted",
                "gateways cut off from the broker",
            ),
            id="spine",
        ),
    ],
)
def test_nothing_is_lost_doubled_or_miscounted(
    faults: list[Fault], tmp_path: Path, on: Servers
) -> None:
    lease_s = max(fault.lease_s for fault in faults)
    with Installation(tmp_path, on, seed=20261124, pace_s=0.4, lease_s=lease_s) as system:
        system.runs_cut_off = sum(fault.runs_cut_off for fault in faults)
        system.stream.start()
        for fault in faults:
            system.under_load()
            fault.inject(system)
            took_s = system.seconds_to_recover()
            assert took_s <= RECOVERED_WITHIN_S, f"{took_s:.1f} s after {fault.name}"
        system.end(log_kept=all(fault.log_kept for fault in faults)).demand()
