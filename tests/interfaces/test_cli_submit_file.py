"""`observatory submit --file`: jobs of a file or a pipe, what is refused of them, and being cut off."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import CLI, cli, terminal_output

from development.process import free_port
from observatory.client import Client
from observatory.interfaces.cli.output import Output
from observatory.interfaces.cli.submit_file import LINE_BYTES_MAX, submit_file
from real import RunningSystem, environment, running_system, until

JOBS = """
from observatory import Observatory

app = Observatory()

@app.job("double")
def double(n: int) -> int:
    return 2 * n
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("files")) as running:
        yield running


def line(n: object = 1, **more: Any) -> str:
    return json.dumps({"type": "double", "payload": {"n": n}, **more}) + "\n"


def test_a_line_that_is_refused_is_told_by_its_number_and_stops_no_other(
    system: RunningSystem,
) -> None:
    text = (
        "\ufeff" + line(1, queue="filed") + "\n" + line("two") + "[1]\n" + "{nonsense\n"
        '{"type": "double", "type": "x"}\n{}\n' + line(3, queue="filed", idempotencyKey=None)
        + line(4, queue="filed").strip()
    )  # fmt: skip
    answer = cli("submit", "-", url=system.url, stdin=text, PYTHONUTF8="1")

    assert answer.returncode == 1
    assert answer.stdout == "2 jobs accepted, 6 refused\n"
    told = dict(one.split(": ", 1) for one in answer.stderr.splitlines())
    assert list(told) == ["line 3", "line 4", "line 5", "line 6", "line 7", "line 8"]
    assert "/payload/n" in told["line 3"]
    assert told["line 4"] == 'it is not a JSON object, such as {"type": "double"}'
    assert told["line 5"].startswith("it is not JSON: ")
    assert "/idempotencyKey" in told["line 8"]
    assert len(system.http.get("/jobs?queue=filed").json()["items"]) == 2


def test_the_same_file_under_the_same_key_makes_no_job_twice(
    system: RunningSystem, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text("".join(line(n, queue="again") for n in range(1200)))
    command = ("submit", "--file", str(file), "--idempotency-key", "run-7", "--json")

    first = json.loads(cli(*command, url=system.url).stdout)
    second = cli(*command, url=system.url)

    assert (first["accepted"], first["duplicates"], first["whole"]) == (1200, 0, True)
    assert second.returncode == 0
    assert json.loads(second.stdout) == {
        "accepted": 0, "duplicates": 1200, "refused": 0, "refusals": [], "whole": True,
        "idempotencyKey": "run-7",
    }  # fmt: skip


def test_refusals_are_in_the_json(system: RunningSystem) -> None:
    answer = cli("submit", "--file", "-", "--json", url=system.url, stdin=line("x") + "7\n")
    assert (answer.returncode, answer.stderr) == (1, "")
    refused, unfit = json.loads(answer.stdout)["refusals"]
    assert (refused["line"], refused["problem"]["status"]) == (1, 422)
    assert (unfit["line"], unfit["problem"]) == (2, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--file", "none.ndjson"), "none.ndjson cannot be read"),
        (("double", "--file", "-"), "leave the rest out"),
        (("-", "--queue", "x"), "leave the rest out"),
        (("-", "--idempotency-key", "a b"), "visible ASCII"),
        (("-", "--idempotency-key", "a" * 241), "1 to 240 characters"),
        ((), "say which TYPE of job, or a --file; see: observatory submit --help"),
        (("--nonsense",), "no such option: --nonsense; see: observatory submit --help"),
    ],
)
def test_what_cannot_be_asked_for_is_2(arguments: tuple[str, ...], told: str) -> None:
    answer = cli("submit", *arguments, stdin=line())
    assert answer.returncode == 2
    assert told in answer.stderr


def test_a_terminal_is_shown_how_far_it_is(system: RunningSystem, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text(line(1))
    shown = terminal_output("submit", "--file", str(file), url=system.url)
    assert "lines" in shown
    assert "/?" not in shown
    assert "1 job accepted" in shown


def test_ctrl_c_tells_what_was_done_and_how_to_go_on(system: RunningSystem) -> None:
    process = subprocess.Popen(
        [*CLI, "submit", "-", "--json", "--idempotency-key", "cut"],
        env=environment(OBSERVATORY_URL=system.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    process.stdin.write("".join(line(n, queue="cut") for n in range(501)))
    process.stdin.flush()
    until(lambda: system.http.get("/jobs?queue=cut&limit=1").json()["items"])
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "--idempotency-key cut with the same lines" in stderr
    assert "Traceback" not in stderr
    told = json.loads(stdout)
    assert (told["accepted"] in (0, 500), told["whole"]) == (True, False)


def test_where_nothing_answers_the_key_to_go_on_with_is_told_at_once() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert cli("submit", "-", url=url, stdin="").returncode == 0, "there was nothing to submit"
    answer = cli("submit", "-", "--json", "--idempotency-key", "k", url=url, stdin=line())
    assert answer.returncode == 5
    assert json.loads(answer.stdout)["whole"] is False
    assert json.loads(answer.stderr)["idempotencyKey"] == "k"


# ------------------------------------------------- a gateway that answers as the test has it


def submitted(
    answers: list[httpx.Response], text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[list[dict[str, Any]]], dict[str, Any]]:
    """What was sent, request by request, and the summary."""
    sent: list[list[dict[str, Any]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        items = json.loads(request.content)
        sent.append(items)
        if answers:
            return answers.pop(0)
        done = {"status": 202, "replayed": False, "problem": None}
        return httpx.Response(
            202, json={"items": [{**done, "index": n} for n in range(len(items))]}
        )

    path = tmp_path / "jobs.ndjson"
    path.write_bytes(text)
    client = Client("http://x", transport=httpx.MockTransport(answer), patience=5.0)
    with path.open("rb") as file:
        submit_file(client, file, "k", output=Output(as_json=True))
    return sent, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("status", [429, 503])
def test_a_batch_is_sent_again_as_it_was(
    status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no = httpx.Response(status, json={"title": "later"}, headers={"retry-after": "0"})
    text = (line(1) + line(2, idempotencyKey="own")).encode()
    sent, told = submitted([no, no], text, tmp_path, capsys)
    assert sent == [sent[0]] * 3
    assert [item["idempotencyKey"] for item in sent[0]] == ["k-1", "own"]
    assert told["accepted"] == 2


def test_a_batch_that_is_too_large_is_cut_in_halves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no = [httpx.Response(413, json={"title": "too large"}) for _ in range(3)]
    sent, told = submitted(no, "".join(map(line, range(4))).encode(), tmp_path, capsys)
    assert [len(items) for items in sent] == [4, 2, 1, 1, 2]
    assert (told["accepted"], told["refused"]) == (3, 1)
    assert told["refusals"][0]["line"] == 1


def test_a_line_without_end_is_not_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = line().encode() + b"x" * (2 * LINE_BYTES_MAX + 5) + b"\n" + line().encode()
    sent, told = submitted([], text, tmp_path, capsys)
    assert [item["idempotencyKey"] for item in sent[0]] == ["k-1", "k-3"]
    assert told["refusals"][0]["line"] == 2


def test_no_more_than_a_batch_is_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = b"".join(line("x" * 300_000).encode() for _ in range(10)) + line().encode() * 600
    sent, _ = submitted([], text, tmp_path, capsys)
    assert max(map(len, sent)) <= 500
    assert max(len(json.dumps(items)) for items in sent) < 1_100_000
