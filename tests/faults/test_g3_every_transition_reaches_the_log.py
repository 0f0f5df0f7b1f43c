"""G3: every transition reaches the log, per job in order, whenever the process dies.

Many short lives: each is killed within a fraction of a second, so that commits stay in the outbox
and runs are cut off; the relay and the rescuer of the next life meet both.
"""

import random
import time
from pathlib import Path

import oracle
import pytest
import records
from workload import CONCURRENCY, JOBS, LEDGER, Storm, result_of, settings

from real import running_system

LIVES = 6


@pytest.mark.slow
def test_the_log_is_whole_and_in_order_after_many_short_lives(tmp_path: Path) -> None:
    chance = random.Random(3)
    outbox_left = 0
    with running_system(JOBS, tmp_path, start=False, **settings(tmp_path)) as system:
        system.start()
        storm = Storm(system, jobs=400, seed=3, pause_s=0.01, rate=70)
        clients = storm.run(singles=8)
        lives = 0
        while lives < LIVES or (not outbox_left and lives < 5 * LIVES):
            lives += 1
            time.sleep(chance.uniform(0.1, 0.4))
            system.kill()
            record = records.embedded(system.data)
            outbox_left += len(record.outbox)
            system.start()
        for client in clients:
            client.join(60)
        assert not storm.errors, storm.errors
        assert outbox_left, "vacuous: no kill left a commit unpublished"
        stats = oracle.wait_until_quiet(system.http, accepted=400, timeout_s=30)
        # The timelines that the read model shows are the same events, id by id.
        ids = {
            event["id"]
            for submit in list(storm.client.submits.values())[:150]
            for job in submit.job_ids
            for event in system.http.get(f"/jobs/{job}/events").json()["items"]
        }
        assert system.stop() == 0, system.output[-3000:]
        record = records.embedded(system.data)
        logged = {event["id"] for *_, batch in record.log for event in batch}
        assert ids
        assert ids <= logged
        oracle.judge(
            record=record,
            client=storm.client,
            ran=oracle.effects(tmp_path / LEDGER),
            stats=stats,
            kills=lives,
            concurrency=CONCURRENCY,
            result_of=result_of,
        ).demand()
