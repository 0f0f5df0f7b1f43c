"""Commands for many jobs, and the views as tables: failures, workers, alerts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import recorded
from command_line import cli
from recorded import WRITTEN, recorded_system

from real import RunningSystem, running_system, until

JOBS = """
from observatory import Observatory

app = Observatory()

@app.job("break", max_attempts=1)
def break_it(n: int) -> None:
    raise ValueError(f"number {n} is broken")

@app.job("fine")
def fine() -> None: ...
"""


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("views")) as running:
        yield running


def failed(system: RunningSystem, count: int) -> list[str]:
    items = [{"type": "break", "payload": {"n": n}} for n in range(count)]
    answer = system.http.post("/jobs/batch", json=items).json()
    ids = [item["jobId"] for item in answer["items"]]

    def all_failed() -> bool:
        return system.http.get("/stats").json()["states"]["failed"] >= count

    until(all_failed)
    return ids


def attempts(system: RunningSystem, job_id: str) -> int:
    return len(system.http.get(f"/jobs/{job_id}/attempts").json()["items"])


def test_jobs_of_a_filter_are_counted_and_nothing_is_changed(system: RunningSystem) -> None:
    ids = failed(system, 3)

    told = cli("jobs", "retry-all", "--type", "break", "--dry-run", url=system.url)

    assert (told.returncode, told.stdout) == (0, "3 jobs would run again\n")
    as_json = cli("jobs", "retry-all", "--all", "--dry-run", "--json", url=system.url)
    assert json.loads(as_json.stdout)["matched"] == 3
    assert [attempts(system, one) for one in ids] == [1, 1, 1]


def test_nothing_is_done_where_nobody_can_be_asked(system: RunningSystem) -> None:
    ids = failed(system, 1)

    refused = cli("jobs", "retry-all", "--type", "break", url=system.url)

    assert refused.returncode == 2
    assert "1 job will run again; nobody can be asked here: --yes does it" in refused.stderr
    assert attempts(system, ids[0]) == 1


def test_jobs_of_a_filter_are_run_again(system: RunningSystem) -> None:
    ids = failed(system, 3)

    done = cli("jobs", "retry-all", "--since", "1h", "--yes", url=system.url)

    assert (done.returncode, done.stdout) == (0, "3 jobs queued again\n")
    for one in ids:
        until(lambda one=one: attempts(system, one) == 2)


def test_jobs_of_a_filter_are_cancelled_with_a_reason(system: RunningSystem) -> None:
    item = {"type": "fine", "payload": {}, "delaySeconds": 3600}
    ids = [system.http.post("/jobs", json=item).json()["jobId"] for _ in range(2)]

    done = cli(
        "jobs", "cancel-all", "--state", "scheduled", "--reason", "typo", "-y", "--json",
        url=system.url,
    )  # fmt: skip

    assert json.loads(done.stdout) == {"action": "cancel", "changed": 2, "skipped": 0}
    assert {system.http.get(f"/jobs/{one}").json()["cancelReason"] for one in ids} == {"typo"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "say which jobs, or --all"),
        (("--queue", ""), "--queue is empty"),
        (("--since", ""), "--since is empty"),
    ],
)
def test_an_empty_filter_does_not_come_to_mean_every_job(
    given: tuple[str, ...], told: str, system: RunningSystem
) -> None:
    item = {"type": "fine", "payload": {}, "delaySeconds": 3600}
    job_id = system.http.post("/jobs", json=item).json()["jobId"]

    refused = cli("jobs", "cancel-all", *given, "--yes", url=system.url)

    assert refused.returncode == 2
    assert told in refused.stderr
    assert system.http.get(f"/jobs/{job_id}").json()["state"] == "scheduled"


@pytest.mark.parametrize("text", ["yesterday", "2026-01-31", "2h30", "-1h", "9999999d"])
def test_a_time_that_is_none_is_refused_in_words(text: str) -> None:
    refused = cli("jobs", "retry-all", f"--since={text}", url="http://127.0.0.1:1")

    assert refused.returncode == 2
    assert "--since is a time with an offset" in refused.stderr


def test_failures_are_told_by_group_and_run_again_by_fingerprint(system: RunningSystem) -> None:
    ids = failed(system, 2)

    told = cli("failures", url=system.url).stdout.splitlines()
    group: dict[str, Any] = json.loads(cli("failures", "--json", url=system.url).stdout)["items"][0]

    assert told[0].split() == [
        "FINGERPRINT", "TYPE", "FAILED", "RETRYING", "LAST", "HOUR", "LAST", "ERROR",
    ]  # fmt: skip
    assert told[1].startswith(f"{group['fingerprint']}  break")
    assert "2 more" in told[1]
    assert "ValueError: number" in told[1]
    again = cli("jobs", "retry-all", "--fingerprint", group["fingerprint"], "-y", url=system.url)
    assert again.stdout == "2 jobs queued again\n"
    for one in ids:
        until(lambda one=one: attempts(system, one) == 2)


def test_workers_are_told(system: RunningSystem) -> None:
    told = cli("workers", url=system.url).stdout.splitlines()

    assert told[0].split() == ["WORKER", "STATE", "BUSY", "QUEUES", "STARTED", "SEEN"]
    assert told[1].split()[1] in ("idle", "busy")
    assert " of " in told[1]


def test_no_alert_is_said_as_such_and_one_that_fires_is_told(system: RunningSystem) -> None:
    until(lambda: system.http.get("/alerts").json()["sourceAsOf"])

    told = cli("alerts", url=system.url).stdout
    assert told.startswith("no alert fires\nknown by embedded, ")
    assert json.loads(cli("alerts", "--json", url=system.url).stdout)["source"] == "embedded"


def test_alerts_that_are_silenced_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer: dict[str, Any] = WRITTEN["/alerts"]
    monkeypatch.setitem(WRITTEN, "/alerts", answer | {"items": [], "silenced": 1})
    with recorded_system() as url:
        assert cli("alerts", url=url).stdout.startswith("no alert fires; 1 is silenced\n")


@pytest.mark.parametrize(
    ("age", "words"),
    [
        ({"lagSeconds": 45.0}, ", 45.0 s behind the log\n"),
        ({"rebuilding": True, "complete": False}, "REBUILDING, not complete yet"),
        ({"complete": False}, "55.1 ms or more behind the log, which does not answer"),
    ],
)
@pytest.mark.parametrize("view", ["stats", "queues list"])
def test_numbers_are_told_with_their_age(
    monkeypatch: pytest.MonkeyPatch, view: str, age: dict[str, Any], words: str
) -> None:
    def read(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        status, answer = answered(path, query)
        return status, {**answer, **age}

    answered = recorded.read
    monkeypatch.setattr(recorded, "read", read)
    with recorded_system() as url:
        told = cli(*view.split(), url=url).stdout
        program = json.loads(cli(*view.split(), "--json", url=url).stdout)
    assert "over 900 s, as of 2026-11-27T11:36:30." in told
    assert words in told
    assert {name: program[name] for name in age} == age


def test_queues_of_a_release_that_tells_no_age_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = recorded.RECORDED["answers"]["/queues"]
    before = {name: queues[name] for name in ("items", "next", "asOf")}
    monkeypatch.setitem(recorded.RECORDED["answers"], "/queues", before)
    with recorded_system() as url:
        answer = cli("queues", "list", url=url)
    assert answer.returncode == 0
    assert "analysis" in answer.stdout


def test_what_fails_nowhere_is_said_so(system: RunningSystem) -> None:
    assert cli("failures", url=system.url).stdout == "nothing fails\n"
