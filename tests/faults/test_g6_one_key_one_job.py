"""G6: one Idempotency-Key, one job: at once a hundred times, across kills, and never another body."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import oracle
import records
from workload import JOBS, LEDGER, settings

from real import RunningSystem, running_system

BODY: dict[str, Any] = {"type": "wait", "payload": {"n": 7, "pause": 0.01}}


def test_a_hundred_at_once_make_one_job(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        answers = _at_once(system, 100, lambda _: {"json": BODY, "headers": _key("hundred")})
        assert Counter(a.status_code for a in answers) == {202: 100}
        assert len({a.json()["jobId"] for a in answers}) == 1
        assert len({a.json()["eventId"] for a in answers}) == 1
        assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
        _one_job_ran_once(system, tmp_path)


def test_a_hundred_bodies_at_once_under_one_key_make_one_job(tmp_path: Path) -> None:
    def request(number: int) -> dict[str, Any]:
        body = {"type": "wait", "payload": {"n": number, "pause": 0.01}}
        return {"json": body, "headers": _key("bodies")}

    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        answers = _at_once(system, 100, request)
        assert Counter(a.status_code for a in answers) == {202: 1, 422: 99}
        refused = [a.json() for a in answers if a.status_code == 422]
        assert {p["type"].rpartition("/")[2] for p in refused} == {"idempotency-key-reused"}
        _one_job_ran_once(system, tmp_path)


def test_a_key_is_remembered_across_kills_and_ways_to_submit(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        first = system.http.post("/jobs", json=BODY, headers=_key("kept")).json()
        for _ in range(2):
            assert system.alive, "the kill would hit nothing"
            system.restart()
            again = system.http.post("/jobs", json=BODY, headers=_key("kept"))
            assert (again.status_code, again.json()) == (202, first)
            assert again.headers["idempotent-replayed"] == "true"
        quoted = system.http.post("/jobs", json=BODY, headers=_key('"kept"'))
        assert quoted.json() == first
        other = system.http.post("/jobs", json=BODY | {"priority": "high"}, headers=_key("kept"))
        assert other.status_code == 422
        batch = system.http.post("/jobs/batch", json=[BODY | {"idempotencyKey": "twice"}] * 3)
        assert batch.status_code == 202
        items = batch.json()["items"]
        assert len({item["jobId"] for item in items}) == 1
        assert [item["replayed"] for item in items] == [False, True, True]


def test_the_members_order_and_the_spelling_of_numbers_do_not_make_another_body(
    tmp_path: Path,
) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        headers = {**_key("order"), "Content-Type": "application/json"}
        texts = (
            b'{"type": "wait", "payload": {"n": 7, "pause": 0.01}}',
            b'{"payload":{"pause":1e-2,"n":7},"type":"\\u0077ait"}',
        )
        answers = [system.http.post("/jobs", content=t, headers=headers) for t in texts]
        assert [a.status_code for a in answers] == [202, 202], answers[1].text
        assert answers[0].json() == answers[1].json()


def _key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def _at_once(system: RunningSystem, count: int, request: Any) -> list[httpx.Response]:
    gate = threading.Barrier(count)
    answers: list[httpx.Response] = []

    def send(number: int) -> None:
        with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http:
            gate.wait(30)
            answers.append(http.post("/jobs", **request(number)))

    threads = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == count, "vacuous: not every request was answered"
    return answers


def _one_job_ran_once(system: RunningSystem, tmp_path: Path) -> None:
    oracle.wait_until_quiet(system.http, accepted=1, timeout_s=10)
    assert system.stop() == 0
    record = records.embedded(system.data)
    assert len(record.jobs) == len(record.keys) == 1
    ran = oracle.effects(tmp_path / LEDGER)
    assert [e.phase for e in ran] == ["start", "end"]
