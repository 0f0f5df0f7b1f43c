"""Each exit code means one thing, and each mistake is told in one line."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from command_line import CLI, JOBS, cli
from stand_in import served_by

from development.process import free_port
from observatory.client import Client, JobHandle
from observatory.core.errors import PROBLEM_BASE
from observatory.interfaces.cli import address
from observatory.interfaces.cli.main import run
from real import RunningSystem, environment, running_system, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("cli")) as running:
        yield running


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

    with served_by(Handler) as url:
        yield url


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
    with served_by(SimpleHTTPRequestHandler) as url:
        for command in (["jobs", "list"], ["submit", "double", "n=1"]):
            assert run([*command, "--url", url]) == 5
            assert "not as an observatory does" in capsys.readouterr().err
        run(["doctor", "--url", url])
        assert "not as an observatory does" in capsys.readouterr().out


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
