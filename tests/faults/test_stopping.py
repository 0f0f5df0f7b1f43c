"""A process that is told to end: it is heard until it has ended, and nothing keeps it for ever."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from real import RunningSystem, running_system, until

JOBS = """
import time
from observatory import JobContext, Observatory

app = Observatory()

@app.job("spin", timeout=1, max_attempts=1)
async def spin(ctx: JobContext) -> None:
    while ctx.attempt == 1:
        time.sleep(0.1)

@app.job("hold")
def hold(seconds: float) -> str:
    time.sleep(seconds)
    return "held"
"""


def submit(system: RunningSystem, type: str, **payload: object) -> str:
    answer = system.http.post("/jobs", json={"type": type, "payload": payload})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


def state(system: RunningSystem, job: str) -> str:
    """Read from the file: a process whose event loop stands still answers nothing."""
    file = (system.data / "observatory.db").as_uri()
    with closing(sqlite3.connect(f"{file}?mode=ro", uri=True)) as db:
        return str(db.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()[0])


def blocked(system: RunningSystem) -> list[str]:
    """A job that blocks the event loop, and one that was accepted behind it."""
    waits = system.http.post(
        "/jobs", json={"type": "hold", "payload": {"seconds": 0}, "delaySeconds": 1}
    ).json()["jobId"]
    spins = submit(system, "spin")
    until(lambda: state(system, spins) == "running")
    with pytest.raises(httpx.TransportError):
        system.http.get("/livez", timeout=0.5)
    return [spins, waits]


def all_complete(system: RunningSystem, jobs: list[str]) -> None:
    system.start()
    for job in jobs:
        done = system.http.get(f"/jobs/{job}", headers={"Prefer": "wait=20"}).json()
        assert done["state"] == "completed", done


def test_a_second_signal_ends_a_process_whose_event_loop_is_blocked(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, OBSERVATORY_GRACE_SECONDS="60") as system:
        jobs = blocked(system)
        system.signal(signal.SIGTERM)
        time.sleep(0.5)
        assert system.alive, "vacuous: the first signal has ended it"
        system.signal(signal.SIGTERM)
        assert system.wait_until_ended(timeout_s=2) == 130
        all_complete(system, jobs)


def test_an_event_loop_that_stays_blocked_is_ended_and_says_where_it_hung(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, OBSERVATORY_GRACE_SECONDS="0.5") as system:
        jobs = blocked(system)
        assert system.stop(timeout_s=15) == 1
        lines = [json.loads(line) for line in system.output.splitlines() if line.startswith("{")]
        (said,) = [line for line in lines if line["event"] == "process.ended_blocked"]
        assert "in spin" in said["stack"]
        all_complete(system, jobs)


def test_a_process_that_drains_is_heard_and_takes_no_more(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, OBSERVATORY_GRACE_SECONDS="20") as system:
        job = submit(system, "hold", seconds=2.5)
        until(lambda: state(system, job) == "running")
        system.signal(signal.SIGTERM)
        until(lambda: system.http.get("/readyz").status_code == 503)

        assert system.http.get("/livez").status_code == 200
        assert system.http.get(f"/jobs/{job}").json()["state"] == "running"
        for path, body in (("/jobs", {"type": "spin"}), ("/jobs/batch", [{"type": "spin"}])):
            refused = system.http.post(path, json=body)
            assert refused.status_code == 503, refused.text
            assert refused.json()["type"].endswith("/draining")
            assert refused.headers["retry-after"]

        # Who waits for the run is told of its end before the listener closes.
        ended = system.http.get(f"/jobs/{job}", headers={"Prefer": "wait=15"}).json()
        assert (ended["state"], ended["result"]) == ("completed", "held")
        assert system.wait_until_ended(timeout_s=10) == 0
