"""The command line, as a person and as a script meet it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from command_line import CLI, JOBS, cli

from development.process import free_port
from observatory.client import Job
from observatory.interfaces.cli.doctor_machine import sqlite_version
from observatory.interfaces.cli.jobs import outcome_of, print_facts
from observatory.interfaces.cli.main import COMMANDS, run
from observatory.interfaces.cli.output import Mistake
from observatory.interfaces.cli.submit import read_payload
from real import RunningSystem, environment, running_system, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_front_page_names_every_command(arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert answer.returncode == 0
    for command in COMMANDS:
        assert f"  {command.name} " in answer.stdout
        assert command.summary in answer.stdout


def imported(*arguments: str) -> tuple[set[str], float]:
    """Top-level modules that a call imports, and the milliseconds that all imports took."""
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", *CLI[1:], *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line.split("|") for line in answer.stderr.splitlines() if line.startswith("import")]
    own_us = [int(line[0].removeprefix("import time:")) for line in lines[1:]]
    return {line[2].strip().split(".")[0] for line in lines[1:]}, sum(own_us) / 1000


def test_help_imports_next_to_nothing() -> None:
    modules, _ = imported("--help")
    heavy = {"httpx", "rich", "pydantic", "starlette", "msgspec", "cyclopts", "asyncio", "uvicorn"}
    assert not modules & heavy
    # On a busy machine it waits for its turn: what it takes is the least that was seen.
    assert any(imported("--help")[1] < 150 for _ in range(10))


def test_a_command_that_talks_to_a_system_imports_no_server() -> None:
    modules, _ = imported("jobs", "list", "--url", f"http://127.0.0.1:{free_port()}")
    assert not modules & {"pydantic", "starlette", "uvicorn", "sqlalchemy", "alembic"}


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "submit",
        "stats",
        "events",
        "doctor",
        "jobs list",
        "jobs show",
        "jobs cancel",
        "jobs retry",
        "contracts check",
        "contracts list",
        "contracts show",
        "jobs tail",
        "jobs export",
        "keys new",
        "completion",
        "queues list",
        "queues pause",
        "queues resume",
        "migrate",
    ],
)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    answer = cli(*command.split(), "--help")
    assert answer.returncode == 0
    assert f"observatory {command}" in answer.stdout.split("For example:")[1]
    assert "--json" in answer.stdout
    assert "--output" in answer.stdout


def test_submit_waits_and_prints_the_outcome(system: RunningSystem) -> None:
    answer = cli("submit", "double", "n=21", "--wait", url=system.url)
    assert answer.returncode == 0
    assert "state        completed" in answer.stdout
    assert "result       42" in answer.stdout
    failed = cli("submit", "hostile", "--wait", "--json", url=system.url)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["state"] == "failed"


def test_submit_reads_the_payload_from_a_pipe(system: RunningSystem) -> None:
    text = json.dumps({"text": "ü€𝄞"})
    answer = cli("submit", "echo", "--payload", "-", "--wait", "--json", url=system.url, stdin=text)
    assert json.loads(answer.stdout)["result"] == "ü€𝄞"


def test_values_are_json_where_they_can_be() -> None:
    fields = (
        "n=2",
        "t=text",
        'q="2"',
        "e=",
        "l=[1]",
        "eq=a=b",
        "nan=NaN",
    )
    assert read_payload('{"k": null}', fields) == {
        "n": 2,
        "k": None,
        "t": "text",
        "q": "2",
        "e": "",
        "l": [1],
        "eq": "a=b",
        "nan": "NaN",
    }


@pytest.mark.parametrize("value", ["1e999", "-1e999", "1e-999", "[1, 1e999]"])
def test_a_number_that_cannot_be_is_not_taken_for_text(value: str) -> None:
    with pytest.raises(Mistake, match=r"^v: -?1e-?999 is too (large|small) for a number; as text"):
        read_payload(None, (f"v={value}",))
    assert read_payload(None, ('v="1e999"',)) == {"v": "1e999"}


def test_a_key_of_the_payload_is_not_given_again() -> None:
    with pytest.raises(Mistake, match="the key 'n' is given twice"):
        read_payload('{"n": 1}', ("n=2",))


@pytest.mark.parametrize(
    "payload",
    ["[1]", "{", '{"n": NaN}', '{"n": 1e999}', '{"n": 1e-999}', '{"n":' * 100_000, "", '"text"'],
)
def test_a_payload_that_is_no_json_object_is_2(payload: str) -> None:
    answer = cli("submit", "double", "--payload", "-", stdin=payload)
    assert answer.returncode == 2
    assert "--payload" in answer.stderr
    assert "JSON" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_argument_that_is_no_text_is_told(system: RunningSystem) -> None:
    answer = subprocess.run(
        [*(part.encode() for part in CLI), b"submit", b"echo", b"text=\xff"],
        env=environment(OBSERVATORY_URL=system.url),
        capture_output=True,
        timeout=30,
    )
    assert answer.returncode == 2
    assert b"Traceback" not in answer.stderr


def test_json_is_what_the_api_says(system: RunningSystem) -> None:
    cli("submit", "double", "n=1", "--wait", url=system.url)
    stats = json.loads(cli("stats", "--json", url=system.url).stdout)
    assert set(stats["states"]) == set(system.http.get("/stats").json()["states"])
    listed = json.loads(cli("jobs", "list", "--json", "--limit", "1", url=system.url).stdout)
    assert len(listed["items"]) == 1
    queues = json.loads(cli("queues", "list", "--json", url=system.url).stdout)
    assert set(queues) == set(system.http.get("/queues").json())


def test_yaml_says_what_json_says(system: RunningSystem) -> None:
    text = "yes \u202e\x1b é\n1:30"
    job = json.loads(
        cli("submit", "echo", f"text={text}", "--wait", "--json", url=system.url).stdout
    )
    for command in (("jobs", "show", job["id"]), ("contracts", "list"), ("queues", "list")):
        as_yaml = cli(*command, "-o", "yaml", url=system.url).stdout
        as_json = json.loads(cli(*command, "-o", "json", url=system.url).stdout)
        told = yaml.safe_load(as_yaml)
        for answer in (told, as_json):
            answer.pop("asOf", None)
        assert told == as_json
        assert as_yaml.isascii()
        assert as_yaml.replace("\n", "").isprintable()
    stream = cli("events", "--subject", job["id"], "-o", "yaml", url=system.url).stdout
    assert [event["type"] for event in yaml.safe_load_all(stream)] == [
        "job.completed", "job.started", "job.created",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("option", ["-o {}", "--output {}", "--output={}", "-o{}"])
def test_an_error_has_the_form_that_was_asked_for(
    option: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["jobs", "list", "--limit", "0", *option.format(form).split()]) == 2
    error = yaml.safe_load(capsys.readouterr().err)
    assert error["message"] == "--limit is a number from 1 up, not 0"


def test_two_forms_are_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "new", "ci", "--json", "-o", "yaml"]) == 2
    assert "it does not go with --output yaml" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["jobs", "logs", "events"])
def test_a_list_that_is_cut_says_so_and_goes_on(system: RunningSystem, kind: str) -> None:
    if kind == "jobs":
        for n in range(3):
            item = {"type": "double", "payload": {"n": n}, "queue": "cut"}
            job_id = system.http.post("/jobs", json=item).json()["jobId"]
            # What still changes would differ from one list to the next.
            system.http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=20"})
        command = ["jobs", "list", "--queue", "cut"]
    else:
        told = json.loads(cli("submit", "tell", "--wait", "--json", url=system.url).stdout)["id"]
        command = ["jobs", "logs", told] if kind == "logs" else ["events", "--subject", told]

    def listed(*more: str) -> tuple[list[Any], str | None]:
        answer = cli(*command, *more, "--json", url=system.url)
        if kind != "events":
            found = json.loads(answer.stdout)
            return found["items"], found["next"]
        items = [json.loads(line) for line in answer.stdout.splitlines()]
        return items, answer.stderr.split()[4] if answer.stderr else None

    whole, end = listed("--limit", "250")
    assert end is None
    first, cursor = listed("--limit", "2")
    assert cursor is not None
    rest, end = listed("--limit", "250", "--cursor", cursor)
    assert (first + rest, end) == (whole, None)
    exact, end = listed("--limit", str(len(whole)))
    assert (exact, end) == (whole, None)
    cut = cli(*command, "--limit", "2", url=system.url)
    assert cut.stderr == f"there are more: --cursor {cursor} goes on\n"
    assert cli(*command, "--limit", "250", url=system.url).stderr == ""


def test_tables_name_what_they_show(system: RunningSystem) -> None:
    cli("submit", "double", "n=1", "--wait", url=system.url)
    stats = cli("stats", url=system.url).stdout
    assert "STATE" in stats
    assert "completed" in stats
    assert "behind the log" in stats
    table = cli("jobs", "list", "--type", "double", "--state", "completed", url=system.url).stdout
    assert table.splitlines()[0].split() == [
        *("ID", "TYPE", "STATE", "ATTEMPT", "QUEUE", "CREATED", "ERROR")
    ]
    assert "no such jobs" in cli("jobs", "list", "--queue", "none", url=system.url).stdout


def test_attempts_beyond_those_of_one_try_are_no_fraction(system: RunningSystem) -> None:
    arguments = ("submit", "hostile", "--max-attempts", "1", "--wait", "--json")
    job = json.loads(cli(*arguments, url=system.url).stdout)["id"]
    assert "attempt      1 of 1\n" in cli("jobs", "show", job, url=system.url).stdout
    cli("jobs", "retry", job, url=system.url)
    until(lambda: system.http.get(f"/jobs/{job}").json()["finishedAt"])
    shown = cli("jobs", "show", job, url=system.url).stdout
    assert "attempt      2 (limit: 1 failed attempt)\n" in shown
    assert "waits" not in shown
    listed = cli("jobs", "list", "--type", "hostile", url=system.url).stdout
    row = next(line.split() for line in listed.splitlines() if line.startswith(job))
    assert row[3] == "2"


def test_a_job_that_ended_its_worker_tells_why_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    suspect = Job(id="j", type="t", queue="q", state="queued", attempt=2, max_attempts=3, crashes=2)
    print_facts(suspect)
    line = "waits        its worker ended 2 times while running it: such jobs run one at a time\n"
    assert line in capsys.readouterr().out
    print_facts(msgspec.structs.replace(suspect, crashes=1))
    print_facts(msgspec.structs.replace(suspect, state="running"))
    assert "waits" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "ran_s", "timeout_s", "shown"),
    [
        ("completed", 8.0, 1.0, "completed, past its timeout of 1 s"),
        ("failed", 1.6, 1.0, "failed, past its timeout of 1 s"),
        ("completed", 1.1, 1.0, "completed"),
        ("completed", 8.0, None, "completed"),
        ("timeout", 6.0, 1.0, "timeout"),
        (None, None, 1.0, "running"),
    ],
)
def test_a_run_past_its_timeout_is_shown_as_such(
    outcome: str | None, ran_s: float | None, timeout_s: float | None, shown: str
) -> None:
    assert outcome_of({"outcome": outcome, "runSeconds": ran_s}, timeout_s) == shown


def test_events_are_a_line_each(system: RunningSystem) -> None:
    cli("submit", "double", "n=1", "--wait", url=system.url)
    lines = cli("events", "--type", "job.completed", "--limit", "2", url=system.url).stdout
    assert 1 <= len(lines.splitlines()) <= 2
    assert "job.completed" in lines


def test_an_event_is_a_cloudevent_and_its_position_can_be_gone_on_from(
    system: RunningSystem,
) -> None:
    cli("submit", "double", "n=1", "--wait", url=system.url)
    lines = cli("events", "--json", "--limit", "3", url=system.url).stdout.splitlines()
    newest, middle, oldest = (json.loads(line) for line in lines)
    assert oldest["specversion"] == "1.0"
    assert oldest["type"] == "job.created" or oldest["type"].startswith(("job.", "worker."))

    after = cli("events", "--after", oldest["position"], "--json", "--limit", "2", url=system.url)
    assert [json.loads(line)["id"] for line in after.stdout.splitlines()] == [
        middle["id"],
        newest["id"],
    ]
    plain = cli("events", "--after", oldest["position"], "--limit", "1", url=system.url).stdout
    assert plain.split()[0] == middle["position"]


def test_waiting_that_ends_before_the_job_is_6_with_the_job_as_it_stands(
    system: RunningSystem,
) -> None:
    later = ("submit", "double", "n=1", "--delay", "60", "--wait", "--timeout", "0.2")
    answer = cli(*later, "--json", url=system.url)
    assert answer.returncode == 6
    assert json.loads(answer.stdout)["state"] == "scheduled"
    plain = cli(*later, url=system.url)
    assert plain.returncode == 6
    assert "still scheduled after 0.2 s" in plain.stdout
    assert cli("submit", "double", "n=1", "--timeout", "1", url=system.url).returncode == 2


@pytest.mark.parametrize(
    "arguments", [("events", "--after", "zzz"), ("stats", "--window", "1")], ids=str
)
def test_a_fault_is_told_once(system: RunningSystem, arguments: tuple[str, ...]) -> None:
    answer = cli(*arguments, url=system.url)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert line.count("must be") + line.count("a position of") <= 2


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("jobs", "list", "--state", "nope"), "observatory jobs list --help"),
        (("keys", "new"), "observatory keys new --help"),
        (("nope",), "observatory --help"),
    ],
    ids=str,
)
def test_a_mistake_points_at_the_help_of_its_command(
    arguments: tuple[str, ...], where: str
) -> None:
    assert cli(*arguments).stderr.splitlines()[-1] == f"see: {where}"


def test_migrate_without_a_store_to_migrate_says_which_setting() -> None:
    answer = cli("migrate")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "OBSERVATORY_STORE_URL" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_the_sql_of_the_migration_is_written_out_without_a_server() -> None:
    answer = cli("migrate", "--sql")
    assert answer.returncode == 0, answer.stderr
    assert "CREATE TABLE jobs" in answer.stdout
    assert answer.stdout.count("alembic_version") > 1


def test_the_contracts_of_this_tree_are_sound(tmp_path: Path) -> None:
    answer = cli("contracts", "check", cwd=tmp_path)
    assert answer.returncode == 0, answer.stdout
    root = Path(__file__).parents[2] / "contracts"
    assert cli("contracts", "check", str(root), "--against", str(root)).returncode == 0


def test_a_fault_in_a_contract_is_1_and_no_contracts_is_2(tmp_path: Path) -> None:
    (tmp_path / "bad.v1.json").write_text('{"type": "nonsense"}')
    answer = cli("contracts", "check", str(tmp_path), "--json")
    assert answer.returncode == 1
    assert not json.loads(answer.stdout)["ok"]
    assert cli("contracts", "check", str(tmp_path / "none")).returncode == 2


def test_contracts_are_listed_and_shown(system: RunningSystem) -> None:
    listed = cli("contracts", "list", url=system.url).stdout
    assert listed.splitlines()[0].split() == ["NAME", "KIND", "VERSION", "TITLE"]
    types = json.loads(
        cli("contracts", "list", "--kind", "jobType", "--json", url=system.url).stdout
    )
    assert {one["name"] for one in types["items"]} == {"double", "echo", "tell", "hostile"}
    double = json.loads(cli("contracts", "show", "double", url=system.url).stdout)
    assert double["properties"]["n"] == {"type": "integer"}
    job = json.loads(cli("contracts", "show", "job.v1.json", "--json", url=system.url).stdout)
    assert job == system.http.get("/contracts/job.v1.json").json()
    unknown = cli("contracts", "show", "no such/thing?", url=system.url)
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert "there is no contract" in unknown.stderr


def test_the_doctor_finds_a_running_system_well(system: RunningSystem) -> None:
    answer = cli("doctor", "--data", str(system.data), url=system.url)
    assert answer.returncode == 0
    assert "runs and is ready" in answer.stdout
    assert "behind the log" in answer.stdout


def test_the_doctor_names_what_fails_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = cli(
            *("doctor", "--json", "--data", str(tmp_path / "file" / "data")),
            *("--port", str(taken.getsockname()[1])),
            url=f"http://127.0.0.1:{free_port()}",
        )
    assert answer.returncode == 1
    found = {one["subject"]: one for one in json.loads(answer.stdout)["findings"]}
    assert found["port"]["verdict"] == "FAIL"
    assert found["data folder"]["verdict"] == "FAIL"
    assert found["system"]["verdict"] == "FAIL"
    assert "OBSERVATORY_URL" in found["system"]["advice"]
    assert all(one["advice"] for one in found.values() if one["verdict"] != "PASS")


def test_the_doctor_names_a_wrong_setting() -> None:
    answer = cli("doctor", OBSERVATORY_CONCURRENCY="none", OBSERVATORY_LOG_LEVEL="loud")
    assert answer.returncode == 1
    assert "OBSERVATORY_CONCURRENCY" in answer.stdout
    assert "OBSERVATORY_LOG_LEVEL" in answer.stdout


def test_the_doctor_names_what_is_no_setting() -> None:
    kubernetes = {"OBSERVATORY_SERVICE_HOST": "10.0.0.1", "OBSERVATORY_PORT_80_TCP": "tcp://x"}
    answer = cli("doctor", "--json", OBSERVATORY_CONCURENCY="3", **kubernetes)
    found = {one["subject"]: one for one in json.loads(answer.stdout)["findings"]}
    assert found["settings"]["verdict"] == "WARN"
    assert found["settings"]["detail"] == "no such setting: OBSERVATORY_CONCURENCY"


def test_the_doctor_reads_the_data_file(tmp_path: Path, system: RunningSystem) -> None:
    good = json.loads(cli("doctor", "--json", "--data", str(system.data)).stdout)["findings"]
    assert next(one for one in good if one["subject"] == "data file")["verdict"] == "PASS"
    (tmp_path / "observatory.db").write_bytes(os.urandom(20_000))
    answer = cli("doctor", "--json", "--data", str(tmp_path))
    found = {one["subject"]: one for one in json.loads(answer.stdout)["findings"]}
    assert (answer.returncode, found["data file"]["verdict"]) == (1, "FAIL")
    assert "not a database" in found["data file"]["detail"]


def test_progress_and_log_lines_of_a_job_are_shown(system: RunningSystem) -> None:
    shown = cli("submit", "tell", "--wait", url=system.url).stdout
    assert "progress     25% a quarter\n" in shown
    job = shown.split()[1]
    assert f"observatory jobs logs {job}" in shown
    lines = cli("jobs", "logs", job, url=system.url).stdout.splitlines()
    assert len(lines) == 250
    assert lines[-1].endswith("#1 info    line n=249")
    few = json.loads(cli("jobs", "logs", job, "--limit", "3", "--json", url=system.url).stdout)
    assert [line["fields"]["n"] for line in few["items"]] == [0, 1, 2]
    assert (
        cli("jobs", "logs", job, "--last", "240", url=system.url).stdout.splitlines() == lines[10:]
    )
    end = json.loads(cli("jobs", "logs", job, "--last", "2", "--json", url=system.url).stdout)
    assert [line["fields"]["n"] for line in end["items"]] == [248, 249]
    assert "next" not in end, "which would say that the list is whole"
    both = cli("jobs", "logs", job, "--last", "2", "--limit", "2", url=system.url)
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)


def test_no_text_begins_a_log_line_of_its_own(system: RunningSystem) -> None:
    forged = "2026-11-01T19:00:00.000000Z #1 error   all is lost"
    payload = json.dumps({"text": f"well\n{forged}"})
    told = json.loads(
        cli("submit", "echo", "--payload", payload, "--wait", "--json", url=system.url).stdout
    )
    first, second = cli("jobs", "logs", told["id"], url=system.url).stdout.splitlines()
    assert first.endswith("#1 info    well")
    assert second == f"    | {forged}"


@pytest.mark.parametrize("option", ["--delay", "--job-timeout"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_seconds_are_a_number(option: str, number: str, system: RunningSystem) -> None:
    answer = cli("submit", "double", "n=1", option, number, url=system.url)
    assert (answer.returncode, answer.stderr) == (
        2,
        f"observatory: {option} is a number of seconds, not {number}\n",
    )


def test_with_json_an_error_is_json_too(system: RunningSystem) -> None:
    refused = cli("submit", "double", "n=x", "--json", url=system.url)
    assert (refused.returncode, refused.stdout) == (2, "")
    error = json.loads(refused.stderr)
    assert error["error"] == "usage"
    assert error["problem"]["errors"][0]["pointer"] == "/payload/n"
    unknown = cli("jobs", "show", "0198f3a2-6f2e-7c31-9a51-2d9f3c7e8b10", "--json", url=system.url)
    assert json.loads(unknown.stderr)["error"] == "not_found"
    usage = cli("jobs", "list", "--bogus", "--json", url=system.url)
    assert json.loads(usage.stderr)["problem"] is None


def test_a_mistake_in_a_module_is_placed_in_that_module(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "from observatory import Observatory\napp = Observatory()\n\n"
        "@app.job('x', max_attempts=0)\ndef x() -> None: ...\n"
    )
    answer = cli("up", "wrong", cwd=tmp_path)
    assert answer.returncode == 2
    assert "wrong.py, line 4)" in answer.stderr


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 40, 1), "WARN"),
        ((3, 44, 5), "WARN"),
        ((3, 44, 6), "PASS"),
        ((3, 45, 0), "WARN"),
        ((3, 50, 6), "WARN"),
        ((3, 50, 7), "PASS"),
        ((3, 51, 2), "WARN"),
        ((3, 51, 3), "PASS"),
        ((3, 54, 0), "PASS"),
    ],
)
def test_the_doctor_knows_which_sqlite_has_the_wal_reset_bug(
    version: tuple[int, ...], verdict: str
) -> None:
    assert sqlite_version(version).verdict == verdict


def test_a_key_that_was_made_opens_the_system(tmp_path: Path) -> None:
    made = json.loads(cli("keys", "new", "ci", "--scope", "read", "--json").stdout)
    with running_system(JOBS, tmp_path, OBSERVATORY_API_KEYS=made["entry"]) as system:
        assert cli("stats", "--key", made["key"], url=system.url).returncode == 0
        assert cli("stats", url=system.url).returncode == 2
        answer = cli("submit", "double", "n=1", url=system.url, OBSERVATORY_API_KEY=made["key"])
        assert answer.returncode == 2
        assert made["key"] not in system.output
