"""G1: a job answered with 202 is never lost; and with it, under the same kills, G2, G3, G4 and G6.

The small form of `kill_storm.py`.
"""

from pathlib import Path

import oracle
import pytest
import records
from workload import CONCURRENCY, JOBS, LEDGER, Storm, result_of, settings

from real import running_system


@pytest.mark.slow
def test_jobs_accepted_while_the_process_is_killed_all_end_once(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        storm = Storm(system, jobs=300, seed=20261123, rate=60)
        clients = storm.run()
        for acknowledged in (60, 140, 220):
            storm.kill_when(acknowledged, ledger=tmp_path / LEDGER)
        for client in clients:
            client.join(60)
        assert not storm.errors, storm.errors
        assert storm.client.acknowledged == 300
        stats = oracle.wait_until_quiet(system.http, accepted=300, timeout_s=30)
        assert system.stop() == 0, system.output[-3000:]

        verdict = oracle.judge(
            record=records.embedded(system.data),
            client=storm.client,
            ran=oracle.effects(tmp_path / LEDGER),
            stats=stats,
            kills=len(storm.kills),
            concurrency=CONCURRENCY,
            result_of=result_of,
        )
        verdict.demand()
