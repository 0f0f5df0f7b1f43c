"""A job that kills its worker: the others survive it, and in the end it is run no more."""

from pathlib import Path

from real import RunningSystem, running_system, until
from shapes import on_both_shapes

pytestmark = on_both_shapes

JOBS = """
import os
from observatory import Observatory, Retry
app = Observatory()

@app.job("kill", retry=Retry(base=0, jitter=False))
def kill() -> None:
    os._exit(9)

@app.job("good")
def good(n: int) -> int:
    return n
"""


def job(system: RunningSystem, job_id: str) -> dict[str, object]:
    return dict(system.http.get(f"/jobs/{job_id}").json())


def test_a_job_that_kills_its_worker_three_times_is_poison(tmp_path: Path) -> None:
    # Where other processors may be, one is taken for dead only after a lease.
    quick = {"OBSERVATORY_HEARTBEAT_SECONDS": "0.3", "OBSERVATORY_LEASE_SECONDS": "2"}
    with running_system(JOBS, tmp_path, **quick) as system:
        answer = system.http.post("/jobs", json={"type": "kill"})
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["jobId"]
        assert system.wait_until_ended() == 9
        for _ in range(2):
            system.start(wait=False)
            assert system.wait_until_ended() == 9

        system.start()
        until(lambda: job(system, job_id)["state"] == "failed", why=lambda: system.output[-2000:])

        ended = job(system, job_id)
        assert (ended["crashes"], ended["failures"], ended["attempt"]) == (3, 0, 3)
        events = system.http.get(f"/jobs/{job_id}/events").json()["items"]
        types = [event["type"] for event in events]
        assert types.count("job.started") == types.count("job.attempt_failed") == 3
        assert events[-1]["data"]["reason"] == "poison"
        assert "3 workers have died while running this job" in str(ended["error"])
        good = system.http.post("/jobs", json={"type": "good", "payload": {"n": 7}}).json()["jobId"]
        until(lambda: job(system, good)["state"] == "completed")
        assert job(system, good)["result"] == 7
        assert system.stop() == 0
