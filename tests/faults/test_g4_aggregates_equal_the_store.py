"""G4: once quiet, aggregates equal the store, also after they were lost or damaged."""

import sqlite3
from pathlib import Path

import oracle
import pytest
import records
from workload import CONCURRENCY, JOBS, LEDGER, Storm, result_of, settings

from real import RunningSystem, running_system, until

DAMAGES = {
    "emptied": (
        "DELETE FROM aggregate_states",
        "DELETE FROM aggregate_series",
        "DELETE FROM aggregate_numbers",
        "DELETE FROM aggregate_position",
    ),
    "a message of the log lost before it was counted": (
        'UPDATE aggregate_position SET "offset" = 1',
        "DELETE FROM aggregate_states",
        "DELETE FROM aggregate_series",
        "DELETE FROM aggregate_numbers",
        "DELETE FROM event_log WHERE position = (SELECT max(position) - 3 FROM event_log "
        "WHERE publisher IS NOT NULL)",
    ),
    "an offset beyond the log": ('UPDATE aggregate_position SET "offset" = 1000000',),
    "another epoch of the log": ("UPDATE event_log_epoch SET epoch = 'another'",),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_aggregates_are_rebuilt_exactly(tmp_path: Path, damage: str) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        storm = _ran(system, jobs=60)
        assert system.stop() == 0
        whole = records.embedded(system.data)
        with sqlite3.connect(system.data / "observatory.db") as db:
            for statement in DAMAGES[damage]:
                assert db.execute(statement).rowcount, f"vacuous: {statement} changed nothing"
        system.start()
        stats = oracle.wait_until_quiet(system.http, accepted=60, timeout_s=15)
        until(lambda: "aggregates.rebuilt" in system.output)
        assert system.stop() == 0
        record = records.embedded(system.data)
        verdict = oracle.judge(
            record=record,
            client=storm.client,
            ran=oracle.effects(tmp_path / LEDGER),
            stats=stats,
            kills=0,
            concurrency=CONCURRENCY,
            result_of=result_of,
        )
        broken = {rule: why for rule, why in verdict.faults.items() if rule.startswith("G4")}
        assert not broken, broken
        assert record.aggregate_states == whole.aggregate_states
        assert record.aggregate_totals == whole.aggregate_totals


def _ran(system: RunningSystem, *, jobs: int) -> Storm:
    storm = Storm(system, jobs=jobs, seed=4, pause_s=0.005)
    for client in storm.run():
        client.join(30)
    assert not storm.errors
    oracle.wait_until_quiet(system.http, accepted=jobs, timeout_s=20)
    return storm
