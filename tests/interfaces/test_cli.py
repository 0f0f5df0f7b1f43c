"""The command line, as a person and as a script meet it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from development.process import free_port
from observatory.client import Client, Job, JobHandle
from observatory.core.errors import PROBLEM_BASE
from observatory.interfaces.cli import address
from observatory.interfaces.cli.doctor_machine import sqlite_version
from observatory.interfaces.cli.jobs import outcome_of, print_facts
from observatory.interfaces.cli.main import COMMANDS, run
from observatory.interfaces.cli.output import Mistake, ran, safe, seconds
from observatory.interfaces.cli.submit import read_payload
from real import RunningSystem, environment, running_system, until

CLI = [sys.executable, "-m", "observatory.interfaces.cli.main"]

JOBS = r"""
from observatory import JobContext, NonRetryable, Observatory

app = Observatory()

@app.job("double")
def double(n: int) -> int:
    return 2 * n

@app.job("echo", queue="voices")
def echo(text: str, ctx: JobContext) -> str:
    ctx.log.info(text)
    return text

@app.job("tell")
def tell(ctx: JobContext) -> None:
    ctx.progress(0.25, "a quarter")
    for n in range(250):
        ctx.log.info("line", n=n)

@app.job("hostile")
def hostile() -> None:
    raise NonRetryable("\x1b[2J\x9b31m\u202egnitrevni\x07")
"""


def cli(
    *arguments: str,
    url: str | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    given = environment(**settings)
    del given["NO_COLOR"]  # a pipe must be without colour by itself
    if url:
        given["OBSERVATORY_URL"] = url
    return subprocess.run(
        [*CLI, *arguments],
        env=given,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("cli")) as running:
        yield running


# ------------------------------------------------------------------------- help and start-up


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


# ------------------------------------------------------------------------------- exit codes


@contextmanager
def answering(status: int, problem: dict[str, Any] | None) -> Iterator[str]:
    """A server that answers everything so, or as a proxy does that knows no problems."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = b"<h1>no</h1>" if problem is None else json.dumps(problem).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_usage_is_2_on_one_line_with_where_to_look() -> None:
    for arguments in (["nonsense"], ["stats", "--nonsense"], ["submit"], ["jobs", "list", "x"]):
        answer = cli(*arguments)
        assert answer.returncode == 2, arguments
        assert answer.stderr.startswith("observatory: ")
        assert "--help" in answer.stderr
        assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("command", [("jobs", "list"), ("events",)])
@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_under_1_is_2(command: tuple[str, ...], limit: str) -> None:
    answer = cli(*command, "--limit", limit)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f"observatory: --limit is a number from 1 up, not {limit}\n"


def test_a_key_given_twice_is_2() -> None:
    answer = cli("submit", "double", "n=1", "m=0", "n=2")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "observatory: the key 'n' is given twice\n"


def test_nothing_there_is_5() -> None:
    answer = cli("stats", "--url", f"http://127.0.0.1:{free_port()}")
    assert answer.returncode == 5
    assert "observatory up" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert "try again later" in answer.stderr.lower()


def problem(slug: str, status: int) -> dict[str, Any]:
    return {"type": f"{PROBLEM_BASE}{slug}", "title": "No", "status": status, "detail": "not so"}


@pytest.mark.parametrize(
    ("status", "slug", "code", "kind"),
    [
        (400, "invalid-parameter", 2, "usage"),
        (401, "unauthorized", 2, "unauthorized"),
        (403, "forbidden", 2, "forbidden"),
        (404, "not-found", 3, "not_found"),
        (409, "illegal-transition", 4, "conflict"),
        (413, "payload-too-large", 2, "usage"),
        (422, "validation-failed", 2, "usage"),
        (429, "overloaded", 5, "unavailable"),
        (500, "internal-error", 5, "unavailable"),
        (502, None, 5, "unavailable"),
        (503, "draining", 5, "unavailable"),
        (503, "store-unavailable", 5, "unavailable"),
        (503, "backlog-full", 5, "unavailable"),
        (504, None, 5, "unavailable"),
    ],
)
def test_an_answer_is_told_apart_by_who_can_act_on_it(
    status: int, slug: str | None, code: int, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status, None if slug is None else problem(slug, status)) as url:
        for command in (["stats"], ["submit", "double", "n=2"], ["jobs", "cancel", "x"]):
            assert run([*command, "--json", "--url", url]) == code
            error = json.loads(capsys.readouterr().err)
            assert error["error"] == kind
            assert error["type"] == (slug and f"{PROBLEM_BASE}{slug}")
            assert ("try again later" in error["message"].lower()) == (code == 5)
            keyed = code == 5 and status != 429 and command[0] == "submit"
            assert bool(error["idempotencyKey"]) == keyed


def test_a_url_that_is_none_is_2() -> None:
    assert cli("stats", "--url", "nowhere").returncode == 2


def test_a_queue_is_paused_seen_and_resumed(system: RunningSystem) -> None:
    unknown = cli("queues", "pause", "resting", url=system.url)
    assert unknown.returncode == 4, "a name that is misspelt is noticed"
    assert "'resting'" in unknown.stderr
    assert "known: default, voices" in unknown.stderr
    forced = cli("queues", "pause", "resting", "--force", url=system.url)
    assert forced.stdout == "resting is paused\n"
    assert cli("queues", "pause", "resting", url=system.url).returncode == 0
    job = cli("submit", "double", "n=1", "--queue", "resting", url=system.url).stdout.strip()
    (listed,) = [
        line
        for line in cli("queues", "list", url=system.url).stdout.splitlines()
        if line.startswith("resting")
    ]
    assert listed.split()[1] == "paused"
    answer = json.loads(cli("queues", "resume", "resting", "--json", url=system.url).stdout)
    assert answer == {"queue": "resting", "paused": False}
    until(lambda: "completed" in cli("jobs", "show", job, url=system.url).stdout)
    shown = json.loads(cli("queues", "list", "--json", url=system.url).stdout)["items"]
    assert [one["paused"] for one in shown if one["name"] == "resting"] == [False]
    assert cli("queues", "pause", "no name", "--force", url=system.url).returncode == 3


def test_a_queue_that_has_had_no_job_is_known(system: RunningSystem) -> None:
    listed = [line.split() for line in cli("queues", "list", url=system.url).stdout.splitlines()]
    assert ["voices", "-", "0", "0", "-", "0", "-"] in listed
    assert cli("queues", "pause", "voices", url=system.url).returncode == 0
    assert cli("queues", "resume", "voices", url=system.url).returncode == 0


def test_not_found_is_3_and_conflict_is_4(system: RunningSystem) -> None:
    answer = cli("jobs", "show", "0197a3c2-6f2e-7c31-9a51-2d9f3c7e8b10", url=system.url)
    assert (answer.returncode, answer.stdout) == (3, "")
    job = cli("submit", "double", "n=1", "--delay", "3600", url=system.url).stdout.strip()
    assert "is cancelled" in cli("jobs", "cancel", job, url=system.url).stdout
    assert cli("jobs", "cancel", job, url=system.url).returncode == 4
    assert "queued again" in cli("jobs", "retry", job, url=system.url).stdout


def test_a_refused_payload_is_2_and_points_at_the_fault(system: RunningSystem) -> None:
    answer = cli("submit", "double", "n=two", url=system.url)
    assert answer.returncode == 2
    assert "/payload/n" in answer.stderr


@pytest.mark.parametrize(
    ("output", "reason"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")]
)
def test_an_output_that_cannot_be_written_is_1_and_one_line(output: str, reason: str) -> None:
    command = f'exec "$@" {output}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *CLI, "--help"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    told = f"observatory: standard output cannot be written: {reason}\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_ctrl_c_while_waiting_tells_which_job_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "submit", lambda self, *_, **__: JobHandle(self, "the-job"))
    monkeypatch.setattr(JobHandle, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(["submit", "double", "n=1", "--wait"])
    out, err = capsys.readouterr()
    assert (out, "job the-job was accepted and goes on" in err) == ("", True)
    with pytest.raises(KeyboardInterrupt):
        run(["submit", "double", "n=1", "--wait", "--json"])
    assert json.loads(capsys.readouterr().out) == {"jobId": "the-job"}


def test_ctrl_c_is_130_without_a_traceback(system: RunningSystem) -> None:
    process = subprocess.Popen(
        [*CLI, "events", "--follow", "--after", "0-0", "--json"],
        env=environment(OBSERVATORY_URL=system.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts in the background with SIGINT ignored, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    cli("submit", "double", "n=1", url=system.url)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["specversion"] == "1.0"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (130, "")


@pytest.mark.parametrize("command", [("events", "--follow"), ("events",), ("jobs", "tail")])
def test_a_position_that_is_none_is_2_whoever_is_asked(
    command: tuple[str, ...], system: RunningSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--after", "bogus", "--url", system.url]) == 2
    assert "a position of the event log" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../jobs", "..", "jobs/..", "."])
def test_the_name_of_a_contract_leads_to_no_other_route(
    name: str, system: RunningSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["contracts", "show", name, "--url", system.url]) == 3
    assert capsys.readouterr().out == ""


def test_to_retry_none_with_yes_says_so(
    system: RunningSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["jobs", "retry-all", "--type", "nosuch", "--url", system.url]
    assert run([*command, "--yes"]) == 0
    assert capsys.readouterr().out == "no such jobs; nothing was changed\n"
    assert run([*command, "--dry-run"]) == 0
    assert capsys.readouterr().out == "0 jobs would run again\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "double", "n=1", "--wait", "--timeout", "-1"], "--timeout is a number"),
        (["submit", "double", "n=1", "--url", ""], "--url is empty"),
        (["jobs", "export", "-o", "yaml"], "not as YAML"),
    ],
)
def test_what_would_be_taken_for_something_else_is_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, told in err) == ("", True)


def test_another_program_at_the_port_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            for command in (["jobs", "list"], ["submit", "double", "n=1"]):
                assert run([*command, "--url", url]) == 5
                assert "not as an observatory does" in capsys.readouterr().err
            run(["doctor", "--url", url])
            assert "not as an observatory does" in capsys.readouterr().out
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("command", ["alerts", "queues list", "jobs list", "stats"])
def test_a_system_that_hangs_is_waited_for_once(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(address, "READS_WITHIN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        began = time.monotonic()
        assert run([*command.split(), "--url", url]) == 5
        assert time.monotonic() - began < 10.0
    assert "does not answer (timed out)" in capsys.readouterr().err


def test_a_load_is_not_advised_to_go_on_under_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert run(["bench", "--type", "double", "--url", url]) == 5
    assert "--idempotency-key" not in capsys.readouterr().err


def test_following_says_at_once_that_nothing_answers(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    url = f"http://127.0.0.1:{free_port()}"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [*CLI, "events", "--follow", "--url", url], env=environment(), stderr=stderr
        )
        try:
            until(lambda: "Trying again" in said.read_text())
            assert process.poll() is None
        finally:
            process.kill()
            process.wait(10)
    assert said.read_text().count("Trying again") == 1
    assert f"{url}/ does not answer" in said.read_text()


def test_a_reader_of_help_that_goes_away_is_no_error() -> None:
    command = [*CLI, "jobs", "list", "--help"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 141


@pytest.mark.parametrize("arguments", ["submit -", "submit double --payload -"])
def test_a_standard_input_that_is_closed_is_2(arguments: str) -> None:
    command = ["sh", "-c", f'exec "$@" {arguments} <&-', "sh", *CLI]
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert told.returncode == 2
    assert told.stderr == "observatory: standard input is closed; there is nothing to read\n"


def test_help_in_a_pipe_has_no_colours() -> None:
    assert "\x1b" not in cli("submit", "--help", FORCE_COLOR="1").stdout


def test_a_reader_that_goes_away_is_no_error(system: RunningSystem) -> None:
    command = f"{' '.join(CLI)} events --json --limit 5000 | head -n 1; echo ${{PIPESTATUS[0]}}"
    answer = subprocess.run(
        ["bash", "-c", command],
        env=environment(OBSERVATORY_URL=system.url),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.stderr == ""
    assert answer.stdout.splitlines()[-1] in {"0", "141"}


# --------------------------------------------------------------------------------- commands


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


# -------------------------------------------------------------------------- terminal safety


@pytest.mark.parametrize("char", ["\x1b", "\x9b", "\x07", "\x00", "\u202e", "\u2066", "\u200b"])
def test_characters_that_a_terminal_obeys_are_shown(char: str) -> None:
    assert char not in safe(f"a{char}b")
    assert safe(f"a{char}b").startswith("a\\")


def test_ordinary_text_stays_as_it_is() -> None:
    assert safe("Grüße, 世界 🚀 عربى") == "Grüße, 世界 🚀 عربى"
    assert safe("a\n\tb", lines=True) == "a\n\tb"
    assert safe("\ud800") == "\\ud800"


def hostile_output(system: RunningSystem) -> list[str]:
    job = json.loads(cli("submit", "hostile", "--wait", "--json", url=system.url).stdout)["id"]
    calls = [
        ["jobs", "show", job],
        ["jobs", "list", "--state", "failed"],
        ["events", "--type", "job.failed"],
        ["jobs", "show", job, "--json"],
        ["events", "--type", "job.failed", "--json"],
    ]
    return [cli(*call, url=system.url).stdout for call in calls]


def test_letters_of_a_payload_are_printed_as_they_are(system: RunningSystem) -> None:
    text = "é€𝄞 \u202e"
    shown = cli("submit", "echo", f"text={text}", "--wait", url=system.url, PYTHONUTF8="1")
    assert 'payload      {"text": "é€𝄞 \\u202e"}\n' in shown.stdout
    assert 'result       "é€𝄞 \\u202e"\n' in shown.stdout
    ascii_only = cli("submit", "echo", "text=é", "--wait", url=system.url, PYTHONIOENCODING="ascii")
    assert 'payload      {"text": "\\xe9"}\n' in ascii_only.stdout


def test_no_command_passes_control_codes_of_a_job_on(system: RunningSystem) -> None:
    for output in hostile_output(system):
        assert "gnitrevni" in output
        assert not set(output) & {"\x1b", "\x9b", "\x07", "\u202e"}


def terminal_output(*arguments: str, url: str, **settings: str) -> str:
    """What a command prints to a real terminal."""
    ours, theirs = pty.openpty()
    given = environment(OBSERVATORY_URL=url, TERM="xterm-256color", **settings)
    if "NO_COLOR" not in settings:
        del given["NO_COLOR"]
    process = subprocess.Popen([*CLI, *arguments], env=given, stdout=theirs, stderr=theirs)
    os.close(theirs)
    chunks: list[bytes] = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # Linux's way to say that the other end has closed
        pass
    os.close(ours)
    process.wait(10)
    return b"".join(chunks).decode()


def test_colour_is_for_terminals_that_want_it(system: RunningSystem) -> None:
    cli("submit", "double", "n=1", "--wait", url=system.url)
    assert "\x1b[" in terminal_output("stats", url=system.url)
    assert "\x1b[" not in terminal_output("stats", url=system.url, NO_COLOR="1")
    assert "\x1b[" not in cli("stats", url=system.url, FORCE_COLOR="1").stdout


def test_durations_read_as_people_say_them() -> None:
    said = {
        None: "-", 0.0: "0.0 ms", 0.0012: "1.2 ms", 0.0999: "99.9 ms", 0.09996: "100 ms",
        0.4492: "449 ms", 0.9994: "999 ms", 0.9996: "1.00 s", 1.5: "1.50 s", 9.996: "10.0 s",
        29.17: "29.2 s", 119.94: "119.9 s", 119.96: "2 min 00 s", 125: "2 min 05 s",
        7200: "2 h 00 min", 93_600: "1 d 2 h",
    }  # fmt: skip
    assert {value: seconds(value) for value in said} == said


def test_how_long_a_lost_run_took_is_not_claimed() -> None:
    told = {one: ran({"outcome": one, "runSeconds": 517}) for one in ("failed", "lost", None)}
    assert told == {"failed": "8 min 37 s", "lost": "(8 min 37 s)", None: "8 min 37 s"}


# --------------------------------------------------------------------------------------- up


def test_up_says_what_it_serves_and_where(system: RunningSystem) -> None:
    said = system.output
    assert f"ready at {system.url}" in said
    for part in ("page", "/jobs", "/docs", "/metrics", str(system.data)):
        assert part in said
    assert "queue default: double, hostile" in said
    assert "queue voices: echo" in said


def test_up_tells_programs_in_one_line_what_it_serves(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, arguments=["--json"]) as system:
        assert system.stop() == 0
        (line,) = system.output.splitlines()
        told = json.loads(line)
        assert system.process is not None
        assert told["url"] == system.url
        assert told["pid"] == system.process.pid
        assert told["data"] == str(system.data)
        assert told["backends"] == {"spine": None, "store": None, "aggregates": None}
        assert told["services"] == ["gateway", "metrics-engine", "processor", "read-model"]
        assert told["jobTypes"]["echo"] == "voices"
    answer = cli("up", "--demo", "--json")
    assert (answer.returncode, json.loads(answer.stderr)["error"]) == (2, "usage")


def test_up_is_ready_soon_and_ends_cleanly(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, start=False) as system:
        spent = []
        for _ in range(3):
            system.start()
            spent.append(system.cpu_s)
            assert system.stop() == 0
        # Processor time, the best of three: other tests may share the machine. How long it takes
        # is measured by benchmarks.
        assert min(spent) < 3, spent
        assert "Traceback" not in system.output


def test_up_without_a_module_serves_and_says_how_to_add_one(tmp_path: Path) -> None:
    with running_system(None, tmp_path) as system:
        assert "observatory up my_module" in until(lambda: system.output)
        system.signal(signal.SIGINT)
        assert system.wait_until_ended() == 0
        assert "Traceback" not in system.output


MODULES = {
    "without": "x = 1\n",
    "several": "from observatory import Observatory\na = Observatory()\nb = Observatory()\n",
    "twice": "from observatory import Observatory\na = b = Observatory()\n",
    "broken": "import does_not_exist\n",
    "syntax": "def\n",
    "raises": "raise RuntimeError('on\\npurpose \\x1b[31m')\n",
    "exits": "import sys\nsys.exit('no')\n",
}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("missing", "there is no module 'missing'"),
        ("missing.py", "there is no file missing.py"),
        ("without", "holds no application"),
        ("several", "name one: several:a, several:b"),
        ("several:c", "no 'c'; it has: a, b"),
        ("without:x", "a int, not an Observatory"),
        ("broken", "No module named 'does_not_exist'"),
        ("syntax", "SyntaxError"),
        ("raises", "RuntimeError: on purpose \\x1b[31m"),
        ("exits", "SystemExit"),
        ("..", "not the name of a module"),
        ("", "not the name of a module"),
    ],
)
def test_up_tells_in_one_line_why_it_finds_no_application(
    tmp_path: Path, name: str, complaint: str
) -> None:
    for module, source in MODULES.items():
        (tmp_path / f"{module}.py").write_text(source)
    answer = cli("up", name, "--port", str(free_port()), cwd=tmp_path)
    assert answer.returncode == 2
    assert complaint in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["twice", "several:b", "twice.py", "./several.py:a"])
def test_up_finds_the_application(tmp_path: Path, name: str) -> None:
    for module, source in MODULES.items():
        (tmp_path / f"{module}.py").write_text(source)
    with running_system(None, tmp_path, arguments=[name]):
        pass


def test_up_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        calls = {
            ("--port", str(taken.getsockname()[1])): "in use",
            ("--host", "0.0.0.0", "--port", str(free_port())): "without keys",
            ("--demo", "module"): "leave MODULE out",
            ("--until-done",): "--demo",
            ("--port", "70000"): "port",
        }
        for arguments, complaint in calls.items():
            answer = cli("up", *arguments, cwd=tmp_path)
            assert answer.returncode == 2, (arguments, answer.stderr)
            assert complaint in answer.stderr.lower() or complaint in answer.stderr
            assert "Traceback" not in answer.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    answer = cli("up", cwd=tmp_path, OBSERVATORY_PORT="many")
    assert answer.returncode == 2
    assert "OBSERVATORY_PORT" in answer.stderr
    assert answer.stderr.count("\n") == 1
    together = cli("up", cwd=tmp_path, OBSERVATORY_LEASE_SECONDS="1")
    assert together.returncode == 2
    assert together.stderr.startswith("observatory: OBSERVATORY_LEASE_SECONDS (1) must be more")


# ------------------------------------------------------------------ contracts, doctor, keys


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
