"""G2: one outcome is recorded a job; attempts are numbered without gaps; nobody else's deeds count.

Here: a job that kills its worker, a drain, and a job that is killed in every run.
"""

import signal
import time
from collections import Counter
from pathlib import Path

import oracle
import pytest
import records
from oracle import ClientLedger
from workload import CONCURRENCY, JOBS, LEDGER, settings

from real import RunningSystem, running_system, until


def submit(
    system: RunningSystem, client: ClientLedger, kind: str, number: int, pause: float
) -> str:
    wanted = client.want(f"{kind}-{number}", kind, number)
    client.sent([wanted])
    answer = system.http.post(
        "/jobs",
        json={"type": kind, "payload": {"n": number, "pause": pause}},
        headers={"Idempotency-Key": wanted.key},
    )
    assert answer.status_code == 202, answer.text
    client.answered(wanted, 202, answer.json()["jobId"])
    return str(answer.json()["jobId"])


def judged(system: RunningSystem, client: ClientLedger, *, kills: int) -> oracle.Verdict:
    stats = oracle.wait_until_quiet(system.http, accepted=client.acknowledged, timeout_s=30)
    assert system.stop() == 0, system.output[-3000:]
    return oracle.judge(
        record=records.embedded(system.data),
        client=client,
        ran=oracle.effects(system.folder / LEDGER),
        stats=stats,
        kills=kills,
        concurrency=CONCURRENCY,
    )


@pytest.mark.slow
def test_a_job_that_kills_its_worker_fails_as_poison_after_three_starts(tmp_path: Path) -> None:
    """The process dies with it; a supervisor starts it again; its neighbours all complete."""
    client = ClientLedger()
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        neighbours = [submit(system, client, "wait", n, 0.4) for n in range(8)]
        poison = submit(system, client, "killer", 0, 0.15)
        deaths = 0
        deadline = time.monotonic() + 30
        while deaths < 3:
            assert time.monotonic() < deadline, f"vacuous: it died {deaths} times"
            if not system.alive:
                assert system.wait_until_ended() == 9, "it did not die of os._exit(9)"
                deaths += 1
                system.start()
            time.sleep(0.02)
        job = until(
            lambda: (found := system.http.get(f"/jobs/{poison}").json())["finishedAt"] and found
        )
        assert (job["state"], job["attempt"], job["crashes"], job["failures"]) == (
            "failed",
            3,
            3,
            0,
        )
        attempts = system.http.get(f"/jobs/{poison}/attempts").json()["items"]
        assert [(a["attempt"], a["outcome"]) for a in attempts] == [(n, "lost") for n in (1, 2, 3)]
        events = system.http.get(f"/jobs/{poison}/events").json()["items"]
        assert (events[-1]["type"], events[-1]["data"]["reason"]) == ("job.failed", "poison")
        verdict = judged(system, client, kills=deaths)
        verdict.demand()
        record = records.embedded(system.data)
        starts = Counter(e.job for e in oracle.effects(tmp_path / LEDGER) if e.phase == "start")
        assert starts[poison] == 3
        assert {record.jobs[id]["state"] for id in neighbours} == {"completed"}
        assert {record.jobs[id]["failures"] for id in neighbours} == {0}
        # Suspects run one at a time, so that the poison is alone among them when it is judged.
        assert max(record.jobs[id]["crashes"] for id in neighbours) <= 2
        assert system.alive is False


def test_a_drain_finishes_what_it_can_and_hands_back_the_rest(tmp_path: Path) -> None:
    """SIGTERM: exit code 0, short runs end, long ones go back to the queue and cost nothing."""
    client = ClientLedger()
    changes = settings(tmp_path) | {"OBSERVATORY_GRACE_SECONDS": "4"}
    with running_system(JOBS, tmp_path, **changes) as system:
        # All are to run at once, on however slow a machine.
        short = [submit(system, client, "wait", n, 2.5) for n in range(4)]
        short += [submit(system, client, "work", n, 2.5) for n in range(4)]
        long = [submit(system, client, "wait", 100 + n, 14.0) for n in range(4)]
        # A thread cannot be stopped: it is handed back, and its slot is given up.
        long += [submit(system, client, "work", 100, 14.0)]
        ledger = tmp_path / LEDGER
        until(lambda: len(oracle.in_flight(oracle.effects(ledger))) == 13)
        began = time.monotonic()
        assert system.stop(timeout_s=20) == 0, system.output[-3000:]
        took_s = time.monotonic() - began
        assert took_s < 10, f"the drain took {took_s:.1f} s with a grace of four"

        record = records.embedded(system.data)
        jobs = record.jobs
        assert {jobs[id]["state"] for id in short} == {"completed"}
        assert [(jobs[id]["state"], jobs[id]["failures"], jobs[id]["crashes"]) for id in long] == [
            ("queued", 0, 0)
        ] * 5, "a run that was handed back was held against its job"
        assert {record.history[id][-1]["move"] for id in long} == {"release"}
        assert {w["state"] for w in record.workers} == {"stopped"}
        assert not record.outbox

        system.start()
        until(lambda: len(oracle.in_flight(oracle.effects(ledger))) >= 5)
        for id in long:
            answer = system.http.post(f"/jobs/{id}/cancel")
            assert answer.status_code in (202, 409), answer.text
        verdict = judged(system, client, kills=1)
        verdict.demand()
        record = records.embedded(system.data)
        assert {record.jobs[id]["attempt"] for id in long} == {2}
        assert sum(record.jobs[id]["state"] == "cancelled" for id in long) >= 4


def test_a_second_sigterm_ends_it_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    client = ClientLedger()
    changes = settings(tmp_path) | {"OBSERVATORY_GRACE_SECONDS": "30"}
    with running_system(JOBS, tmp_path, **changes) as system:
        job = submit(system, client, "wait", 1, 8.0)
        ledger = tmp_path / LEDGER
        until(lambda: oracle.in_flight(oracle.effects(ledger)))
        system.signal(signal.SIGTERM)
        time.sleep(0.3)
        assert system.alive, "vacuous: the drain was over before the second signal"
        system.signal(signal.SIGTERM)
        assert system.wait_until_ended(timeout_s=5) != 0
        system.start()
        done = system.http.get(f"/jobs/{job}", headers={"Prefer": "wait=20"}).json()
        assert (done["state"], done["attempt"], done["failures"]) == ("completed", 2, 0)
        judged(system, client, kills=1).demand()


@pytest.mark.slow
def test_a_worker_that_stood_still_past_its_lease_records_each_run_once(tmp_path: Path) -> None:
    """SIGSTOP beyond the lease and SIGCONT: with one process there is nobody to take over, and
    what it wakes up with is either recorded or ended as lost, never both."""
    client = ClientLedger()
    changes = settings(tmp_path) | {
        "OBSERVATORY_LEASE_SECONDS": "1.5",
        "OBSERVATORY_HEARTBEAT_SECONDS": "0.3",
    }
    with running_system(JOBS, tmp_path, **changes) as system:
        for n in range(6):
            submit(system, client, "wait", n, 1.0)
        ledger = tmp_path / LEDGER
        system.freeze_when(lambda: oracle.in_flight(oracle.effects(ledger)))
        time.sleep(3.0)
        system.signal(signal.SIGCONT)
        judged(system, client, kills=1).demand()
