"""`observatory doctor` on servers and files: that each is looked at, and what to do is said."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import recorded
from command_line import JOBS, cli

from conformance import postgres, rabbitmq, redis_bench
from development.process import free_port
from observatory.backends.postgres.migrate import migrate
from observatory.backends.sqlite import migrate as sqlite_migrate
from observatory.client import Client, connection
from observatory.interfaces.cli import doctor_system
from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.diagnosis import clocks
from observatory.interfaces.cli.doctor_backends import store_schema
from observatory.interfaces.cli.doctor_machine import data_folder
from observatory.interfaces.cli.doctor_system import alerts, heartbeat, numbers
from observatory.interfaces.cli.doctor_system import running_system as running_system_at
from real import running_system


def found(*arguments: str, **settings: str) -> dict[str, dict[str, Any]]:
    """The findings by what they are about, and each that is no PASS says what to do."""
    url = settings.pop("url", f"http://127.0.0.1:{free_port()}")
    answer = cli("doctor", "--json", *arguments, url=url, **settings)
    assert answer.stderr == ""
    findings = json.loads(answer.stdout)["findings"]
    for one in findings:
        assert bool(one["advice"]) == (one["verdict"] != "PASS"), one
    assert (answer.returncode == 1) == any(one["verdict"] == "FAIL" for one in findings)
    return {one["subject"]: one for one in findings}


@pytest.mark.parametrize(
    ("told", "verdict", "words"),
    [
        ({"items": [], "detail": None}, "PASS", "none critical"),
        ({"items": [], "detail": "no watchdog"}, "WARN", "may be missing: no watchdog"),
        ({"items": [{"name": "A", "severity": "critical"}], "detail": "no watchdog"}, "WARN", "A"),
    ],
)
def test_alerts_that_nobody_may_have_told_are_no_good_news(
    told: dict[str, Any], verdict: str, words: str
) -> None:
    finding = alerts(told)
    assert (finding.verdict, finding.detail) == (verdict, words)


def _beat(at: str, state: str = "completed") -> dict[str, Any]:
    return {"createdAt": f"2026-11-01T{at}Z", "state": state}


@pytest.mark.parametrize(
    ("every_s", "jobs", "through", "paused", "verdict", "words"),
    [
        (0, [], None, False, "PASS", "off"),
        (0, [_beat("10:00:00")], "10:00:01", False, "PASS", "off"),
        (15, [_beat("11:59:50")], "11:59:51", False, "PASS", "through 9 s ago"),
        (0, [_beat("11:59:50")], "11:59:51", False, "PASS", "through 9 s ago"),
        (15, [_beat("11:59:58", "queued")], None, False, "PASS", "first"),
        (15, [_beat("11:59:58", "queued")], "03:00:00", False, "PASS", "through"),
        (
            15,
            [_beat("11:59:58", "queued"), _beat("11:57:00", "queued")],
            None,
            False,
            "FAIL",
            "180",
        ),
        (
            15,
            [_beat("11:59:58", "queued"), _beat("11:57:00", "failed"), _beat("11:56:45")],
            "11:56:46",
            False,
            "FAIL",
            "180",
        ),
        (60, [_beat("11:59:58", "queued"), _beat("11:57:01", "queued")], None, False, "PASS", ""),
        (
            15,
            [_beat("11:59:58", "queued"), _beat("11:57:00", "queued")],
            None,
            True,
            "PASS",
            "paus",
        ),
        (15, [_beat("11:50:00", "queued")], None, False, "WARN", "none has come through"),
        (15, [_beat("11:50:00")], "11:50:01", False, "WARN", "none was accepted"),
        (15, [], None, False, "WARN", "none was accepted"),
        (15, [_beat("11:50:00", "queued")], None, True, "WARN", "none was accepted"),
    ],
)
def test_heartbeat_jobs_that_do_not_come_through_are_told(
    every_s: float,
    jobs: list[dict[str, Any]],
    through: str | None,
    paused: bool,
    verdict: str,
    words: str,
) -> None:
    last = {
        "acceptedAt": jobs[0]["createdAt"],
        "lastCompletedAt": through and f"2026-11-01T{through}Z",
    } if jobs else None  # fmt: skip
    told = {
        "asOf": "2026-11-01T12:00:00Z",
        "heartbeatIntervalSeconds": every_s,
        "heartbeat": last,
    }

    finding = heartbeat(told, jobs, paused)

    assert finding.verdict == verdict
    assert words in finding.detail
    assert bool(finding.advice) == (verdict != "PASS")


@pytest.mark.parametrize("waits", [True, False])
def test_without_a_worker_jobs_that_wait_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    def read(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        status, answer = answered(path, query)
        if path == "/workers":
            answer = {**answer, "items": [{**answer["items"][0], "state": "stale"}]}
        if path == "/jobs" and not waits:
            answer = {**answer, "items": [], "next": None}
        return status, answer

    answered = recorded.read
    monkeypatch.setattr(recorded, "read", read)
    with recorded.recorded_system() as url:
        told = found(url=url)["workers"]
    assert told["verdict"] == ("FAIL" if waits else "WARN")
    assert "start a processor" in told["advice"]


def test_a_folder_where_nothing_can_be_kept_is_no_data_folder() -> None:
    assert data_folder(Path("/proc/observatory")).verdict == "FAIL"


def test_servers_that_are_new_are_looked_at_and_left_as_they_are() -> None:
    server = postgres.server()
    store = postgres.new_database(server)
    with psycopg.connect(store) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    settings = {
        "OBSERVATORY_STORE_URL": store,
        "OBSERVATORY_SPINE_URL": rabbitmq.new_virtual_host(),
        "OBSERVATORY_AGGREGATES_URL": redis_bench.server().url(),
    }
    try:
        for _ in range(2):
            told = found(**settings)
            assert told["store"]["detail"].startswith("PostgreSQL ")
            assert told["store schema"]["verdict"] == "FAIL"
            assert "observatory migrate" in told["store schema"]["advice"]
            assert told["spine"]["detail"].startswith("RabbitMQ 3.")
            assert told["spine features"]["verdict"] == "PASS"
            assert told["spine topology"]["verdict"] == "WARN"
            assert "observatory.events" in told["spine topology"]["detail"]
            assert told["aggregates"]["detail"].startswith("Redis 7.")
            for clock in ("store's clock", "aggregates' clock"):
                assert told[clock]["verdict"] == "PASS"
            assert "data folder" not in told
        migrate(store)
        assert found(**settings)["store schema"]["verdict"] == "PASS"
    finally:
        postgres.drop_database(server, store)


def test_servers_that_do_not_answer_are_named_without_their_passwords() -> None:
    port = free_port()
    told = found(
        OBSERVATORY_STORE_URL=f"postgresql://me:secret@127.0.0.1:{port}/x",
        OBSERVATORY_SPINE_URL=f"amqp://me:secret@127.0.0.1:{port}/",
        OBSERVATORY_AGGREGATES_URL="http://me:secret@127.0.0.1/",
    )
    for subject in ("store", "spine", "aggregates"):
        assert told[subject]["verdict"] == "FAIL"
        assert f"OBSERVATORY_{subject.upper()}_URL" in told[subject]["advice"]
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize(
    "url", ["amqp://me:secret@host:port/", "amqp://me:se/cret@host/", "amqp://[me:secret@host"]
)
def test_a_url_that_is_none_is_told_without_a_piece_of_its_password(url: str) -> None:
    spine = found(OBSERVATORY_SPINE_URL=url)["spine"]
    assert spine["verdict"] == "FAIL"
    assert "OBSERVATORY_SPINE_URL" in spine["advice"]
    assert not re.search("se/?cret|'se'", str(spine))


@pytest.mark.parametrize(
    ("revision", "verdict"), [(sqlite_migrate.HEAD, "PASS"), ("0001", "WARN"), ("9999", "FAIL")]
)
def test_the_schema_of_the_file_is_told(
    empty_database: Path, tmp_path: Path, revision: str, verdict: str
) -> None:
    path = tmp_path / empty_database.name
    path.write_bytes(empty_database.read_bytes())
    with sqlite3.connect(path) as file:
        file.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    file.close()
    assert found("--data", str(tmp_path))["data schema"]["verdict"] == verdict


def test_another_programs_file_is_no_data_file(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "observatory.db") as file:
        file.execute("CREATE TABLE other (n)")
    file.close()
    assert found("--data", str(tmp_path))["data schema"]["verdict"] == "FAIL"


@pytest.mark.parametrize(
    ("option", "verdict", "words", "advice"),
    [
        (True, "FAIL", "does not answer: [Errno 111] Connection refused", "correct --url"),
        (False, "WARN", "none is running at this address", "name its address with --url"),
    ],
    ids=["named", "not named"],
)
def test_a_system_that_is_named_and_does_not_answer_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, option: bool, verdict: str, words: str, advice: str
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.delenv("OBSERVATORY_URL", raising=False)
    monkeypatch.setattr(connection, "DEFAULT_URL", url)
    running = running_system_at(Address(url) if option else Address())
    (told,) = running.findings
    assert (told.verdict, running.answers) == (verdict, False)
    assert words in told.detail
    assert advice in told.advice


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (422, "PASS", "answers"),
        (403, "PASS", "answers"),
        (404, "WARN", "none is at this address"),
        (405, "WARN", "none is at this address"),
        (503, "FAIL", "takes no jobs"),
        (None, "FAIL", "does not answer"),
    ],
)
def test_whether_jobs_are_taken_is_asked_of_the_gateway(
    answer: int | None, verdict: str, words: str
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/jobs")
        if answer is None:
            raise httpx.ReadTimeout("timed out", request=request)
        return httpx.Response(answer, json={"title": "t"} if answer != 405 else None)

    with Client("http://x", patience=0, transport=httpx.MockTransport(handle)) as client:
        told = doctor_system._gateway(client)
    assert (told.verdict, told.subject) == (verdict, "gateway")
    assert words in told.detail


def test_what_is_not_ready_is_named() -> None:
    checks = {"store": {"ok": False, "detail": "TimeoutError"}, "spine": {"ok": True}}

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"status": "failing", "checks": checks})

    with Client("http://x", patience=0, transport=httpx.MockTransport(handle)) as client:
        answers, told = doctor_system._readiness(client, "")
    assert answers
    assert "not ready: store (TimeoutError)" in told.detail


@pytest.mark.parametrize("option", [True, False], ids=["named", "not named"])
def test_a_system_that_hangs_is_no_system_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, option: bool
) -> None:
    monkeypatch.delenv("OBSERVATORY_URL", raising=False)
    monkeypatch.setattr(doctor_system, "_READY_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        monkeypatch.setattr(connection, "DEFAULT_URL", url)
        running = running_system_at(Address(url) if option else Address())
    (told,) = running.findings
    assert told.verdict == "FAIL"
    assert told.detail == f"{url} takes connections and does not answer within 0.2 s"


@pytest.mark.parametrize(
    ("told", "verdict", "words"),
    [
        ({}, "PASS", "20.0 ms behind"),
        ({"lagSeconds": 12.0}, "WARN", "12.0 s behind"),
        ({"lagSeconds": 45.0}, "FAIL", "45.0 s behind"),
        ({"complete": False, "rebuilding": True}, "FAIL", "not complete"),
        ({"complete": False}, "FAIL", "or more behind the log"),
    ],
)
def test_numbers_that_nobody_keeps_up_are_a_failure(
    told: dict[str, Any], verdict: str, words: str
) -> None:
    finding = numbers({"lagSeconds": 0.02, "complete": True, "rebuilding": False} | told)
    assert finding.verdict == verdict
    assert words in finding.detail
    assert bool(finding.advice) == (verdict != "PASS")


@pytest.mark.parametrize("where", ["settings", "system"])
def test_where_the_store_is_a_server_nothing_is_said_of_sqlite(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def read(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        status, answer = answered(path, query)
        if path == "/system":
            store = {"name": "store", "ok": True, "detail": f"{kept_by} schema 0001"}
            answer = {**answer, "backends": [store]}
        return status, answer

    answered = recorded.read
    monkeypatch.setattr(recorded, "read", read)
    kept_by = "postgresql" if where == "system" else "sqlite"
    servers = {
        f"OBSERVATORY_{name}_URL": f"{scheme}://127.0.0.1:{free_port()}"
        for name, scheme in (("STORE", "postgresql"), ("SPINE", "amqp"), ("AGGREGATES", "redis"))
    }
    of_file = {"sqlite", "data folder", "disk"}
    with recorded.recorded_system() as url:
        assert not of_file & set(found(url=url, **(servers if where == "settings" else {})))
        if where == "system":
            kept_by = "sqlite"
        assert of_file <= set(found(url=url))


def test_a_running_system_tells_of_itself(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path) as system:
        told = found("--data", str(system.data), url=system.url)
    assert told["backends"]["detail"] == "store, spine, aggregates answer"
    assert told["workers"]["detail"].startswith("1 at work, 0 of ")
    assert told["heartbeat job"]["detail"].startswith("off")
    subjects = (
        "system",
        "gateway",
        "numbers",
        "clock",
        "alerts",
        "workers",
        "heartbeat job",
        "data schema",
    )
    for subject in subjects:
        assert told[subject]["verdict"] == "PASS"
    assert "port" not in told


@pytest.mark.parametrize(
    ("status", "slug", "subject", "advice"),
    [
        (503, "aggregates-unavailable", "numbers", "bring back"),
        (404, "not-found", "views", "--url"),
        (401, "unauthorized", "views", "--key"),
    ],
)
def test_numbers_that_cannot_be_read_are_told_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, status: int, slug: str, subject: str, advice: str
) -> None:
    def read(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/stats":
            return recorded.problem(status, slug, "No", "not now")
        return (200, {}) if path == "/readyz" else answered(path, query)

    answered = recorded.read
    monkeypatch.setattr(recorded, "read", read)
    with recorded.recorded_system() as url:
        told = found(url=url)
    assert advice in told[subject]["advice"]
    # What else there is to ask is asked where it can be answered.
    assert ("backends" in told) == (status == 503)


def test_a_difference_of_clocks_is_told_unless_the_asking_explains_it() -> None:
    assert clocks("c", -0.4, 0.5).detail == "as this machine's, to within 0.500 s"
    assert clocks("c", 1.5, 0.1).verdict == "PASS"
    assert clocks("c", 3.5, 2.0).verdict == "PASS"
    behind = clocks("c", -3.0, 0.1)
    assert (behind.verdict, behind.detail) == ("WARN", "3.000 s behind this machine's")


@pytest.mark.parametrize(
    ("at", "verdict"), [(None, "FAIL"), ("0001", "FAIL"), ("0005", "PASS"), ("0006", "FAIL")]
)
def test_a_store_has_this_releases_schema_or_fails(at: str | None, verdict: str) -> None:
    assert store_schema(at, "0005").verdict == verdict


def test_a_newer_schema_that_only_adds_is_no_failure() -> None:
    finding = store_schema("0006", "0005", only_adds=True)
    assert finding.verdict == "WARN"
    assert "newer release" in finding.advice
