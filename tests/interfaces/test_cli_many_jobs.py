"""`observatory jobs tail` and `jobs export`: every change, and every job."""

from __future__ import annotations

import csv
import errno
import io
import json
import resource
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
from observatory.interfaces.cli.export import Export
from real import RunningSystem, environment, running_system

JOBS = r"""
from observatory import NonRetryable, Observatory

app = Observatory()

@app.job("double")
def double(n: int) -> int:
    return 2 * n

@app.job("hostile", queue="others")
def hostile() -> None:
    raise NonRetryable("=1+1\x1b[2J\nsecond line")
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("many")) as running:
        batch = [{"type": "double", "payload": {"n": n}, "queue": "bulk"} for n in range(450)]
        assert running.http.post("/jobs/batch", json=batch).json()["accepted"] == 450
        failed = running.http.post("/jobs", json={"type": "hostile", "correlationId": "c-1"})
        job_id = failed.json()["jobId"]
        running.http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=20"})
        yield running


# ------------------------------------------------------------------------------------- tail


def tail(system: RunningSystem, *arguments: str) -> list[str]:
    answer = cli("jobs", "tail", "--after", "0-0", *arguments, url=system.url)
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.splitlines()


def test_a_change_is_a_line(system: RunningSystem) -> None:
    created, started, failed = tail(system, "--type", "hostile", "--limit", "3")
    assert created.split()[2:5] == ["hostile", "queued", "others"]
    assert started.split()[3:] == ["running", "others", "attempt", "1"]
    assert failed.split()[3] == "failed"
    assert failed.endswith("NonRetryable: =1+1\\x1b[2J second line")


@pytest.mark.parametrize(
    "narrowed",
    [("--queue", "others"), ("--correlation-id", "c-1"), ("--type", "hostile")],
    ids=lambda narrowed: narrowed[0],
)
def test_changes_are_narrowed_as_a_list_is(
    system: RunningSystem, narrowed: tuple[str, ...]
) -> None:
    told = tail(system, *narrowed, "--state", "failed", "--json", "--limit", "1")
    (change,) = map(json.loads, told)
    assert (change["jobType"], change["state"]) == ("hostile", "failed")
    assert change["correlationId"] == "c-1"
    assert change["error"]["type"] == "NonRetryable"


def test_it_goes_on_after_a_position(system: RunningSystem) -> None:
    first, second = map(json.loads, tail(system, "--queue", "bulk", "--json", "--limit", "2"))
    answer = cli(
        "jobs", "tail", "--after", first["position"], "--queue", "bulk", "--json", "--limit", "1",
        url=system.url,
    )  # fmt: skip
    assert json.loads(answer.stdout) == second


def test_ctrl_c_ends_a_tail(system: RunningSystem) -> None:
    process = subprocess.Popen(
        [*CLI, "jobs", "tail", "--after", "0-0", "--type", "hostile", "--json"],
        env=environment(OBSERVATORY_URL=system.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["jobType"] == "hostile"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (130, "")


# ----------------------------------------------------------------------------------- export


def test_every_job_of_a_filter_is_written(system: RunningSystem, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    told = cli("jobs", "export", "--queue", "bulk", "--to", str(file), "--json", url=system.url)
    assert json.loads(told.stdout) == {"jobs": 450, "file": str(file), "next": None}
    jobs = [json.loads(line) for line in file.read_text().splitlines()]
    ids = [job["id"] for job in jobs]
    assert (len(set(ids)), ids) == (450, sorted(ids, reverse=True))
    again = cli("jobs", "export", "--to", str(file), url=system.url)
    assert again.returncode == 4
    assert "is there already" in again.stderr


def test_a_cut_export_goes_on_behind_what_it_wrote(system: RunningSystem, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    command = ("jobs", "export", "--queue", "bulk", "--state", "completed", "--since", "1h")
    command = (*command, "--format", "csv")
    # What still runs is not among them; all have ended once the last one has.
    cli("submit", "double", "n=1", "--queue", "bulk", "--priority", "low", "--wait", url=system.url)
    cli(*command, "--to", str(whole), url=system.url)

    cut = cli(*command, "--limit", "210", "--to", str(parts), url=system.url)
    assert "210 jobs written to" in cut.stderr
    # An hour ago is another time by now, so the time is told with the cursor.
    since, cursor = cut.stderr.split("more: ")[1].split()[1:4:2]
    command = (*command[:-3], since, *command[-2:])
    rest = cli(*command, "--to", str(parts), "--cursor", cursor, url=system.url)

    assert rest.returncode == 0, rest.stderr
    assert parts.read_text() == whole.read_text()


def test_a_csv_is_not_obeyed_by_who_opens_it(system: RunningSystem) -> None:
    answer = cli("jobs", "export", "--type", "hostile", "--format", "csv", "--full", url=system.url)
    assert answer.stderr == "1 job written\n"
    (job,) = csv.DictReader(io.StringIO(answer.stdout))
    assert job["errorMessage"] == "'=1+1\\x1b[2J\nsecond line"
    assert (job["payload"], job["result"], job["correlationId"]) == ("{}", "null", "c-1")


def test_payload_and_result_are_written_where_they_are_asked_for(system: RunningSystem) -> None:
    cli("submit", "double", "n=21", "--queue", "one", "--wait", url=system.url)
    command = ("jobs", "export", "--queue", "one")
    (full,) = cli(*command, "--full", url=system.url).stdout.splitlines()
    assert (json.loads(full)["payload"], json.loads(full)["result"]) == ({"n": 21}, 42)
    (plain,) = cli(*command, url=system.url).stdout.splitlines()
    assert "payload" not in json.loads(plain)


def test_a_terminal_is_shown_how_far_the_export_is(system: RunningSystem, tmp_path: Path) -> None:
    shown = terminal_output("jobs", "export", "--to", str(tmp_path / "f"), url=system.url)
    assert "jobs" in shown
    assert "written to" in shown


def test_a_file_that_cannot_be_written_is_2(system: RunningSystem, tmp_path: Path) -> None:
    answer = cli("jobs", "export", "--to", str(tmp_path / "none" / "f"), url=system.url)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "cannot be written" in answer.stderr


def test_an_outage_tells_where_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    page: dict[str, Any] = {"items": [{"id": "a"}], "next": "further"}
    answers = iter([httpx.Response(200, json=page), httpx.Response(404, json={})])
    client = Client("http://x", transport=httpx.MockTransport(lambda _: next(answers)))
    file = io.StringIO()
    done = Export(client, {}, file, None, full=False, next=None)
    with pytest.raises(Exception, match="404"), done.telling_where_it_was_cut():
        done.run(None)
    assert file.getvalue() == '{"id":"a"}\n'
    assert "cut off after 1 job; --cursor further writes" in capsys.readouterr().err


class FullAfter(io.StringIO):
    """An output that takes so many pages."""

    pages = 1

    def write(self, text: str) -> int:
        if self.pages == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.pages -= 1
        return super().write(text)


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        (0, "cut off after 0 jobs; begin anew"),
        (1, "cut off after 1 job; remove what stands behind them; --cursor further writes"),
    ],
)
def test_an_output_that_is_full_tells_where_to_go_on(
    pages: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page: dict[str, Any] = {"items": [{"id": "a"}], "next": "further"}
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json=page))
    file = FullAfter()
    file.pages = pages
    done = Export(Client("http://x", transport=answer), {}, file, None, full=False, next=None)
    with pytest.raises(OSError, match="No space"), done.telling_where_it_was_cut():
        done.run(None)
    assert told in capsys.readouterr().err


def test_an_export_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    command = ("jobs", "export", "--format", "csv", "--to", str(file))
    answer = cli(*command, url=f"http://127.0.0.1:{free_port()}")
    assert answer.returncode == 5
    assert not file.exists()


def test_a_full_disk_leaves_whole_pages_and_tells_where_to_go_on(
    system: RunningSystem, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.ndjson"
    command = [*CLI, "jobs", "export", "--queue", "bulk", "--to", str(file)]
    page = len(cli(*command[len(CLI) : -2], "--limit", "200", url=system.url).stdout)
    full = page * 3 // 2
    done = subprocess.run(
        command,
        env=environment() | {"OBSERVATORY_URL": system.url},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, full)),
    )
    assert done.returncode == 2, done.stderr
    assert f"{file} cannot be written: File too large" in done.stderr
    assert "cut off after 200 jobs" in done.stderr
    jobs = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert len(jobs) == 200

    cursor = done.stderr.split("--cursor ")[1].split()[0]
    rest = cli(*command[len(CLI) :], "--cursor", cursor, url=system.url)
    assert rest.returncode == 0, rest.stderr
    jobs = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert jobs == sorted(set(jobs), reverse=True)
    assert len(jobs) > 400
