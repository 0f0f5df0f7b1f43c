"""`observatory bench`: what it loads, what it measures, and that a stall counts for all it delays."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from command_line import CLI, JOBS, cli
from stand_in import served_by

from development.process import free_port
from observatory.interfaces.cli.bench_load import Plan
from observatory.interfaces.cli.bench_times import Times
from real import RunningSystem, environment, running_system, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("bench")) as running:
        yield running


BENCH = ("bench", "--type", "double", "--payload", '{"n": 1}')


def test_jobs_are_submitted_and_followed_to_their_ends(system: RunningSystem) -> None:
    answer = cli(*BENCH, "--jobs", "250", "--batch", "100", "--json", url=system.url)
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert (told["requests"], told["accepted"], told["ended"]) == (3, 250, {"completed": 250})
    assert (told["errors"], told["endsMissing"], told["whole"]) == ({}, None, True)
    assert told["timesFrom"] == "sending"
    assert 0 < told["submitSeconds"]["p50"] <= told["submitSeconds"]["max"]
    assert sum(one["count"] for one in told["endSeconds"]["histogram"]) == 250


def test_a_rate_is_kept_and_drawn(system: RunningSystem) -> None:
    answer = cli(*BENCH, "--rate", "40", "--seconds", "1", url=system.url, PYTHONUTF8="1")
    assert answer.returncode == 0, answer.stdout
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("double, 40 jobs/s, open loop, 1 a request, 16 connections, ")
    assert lines[2].startswith("accepted     40 jobs, ")
    assert lines[3].startswith("ended        40 completed, ")
    assert any(line.startswith("submit, from when due ") for line in lines)
    assert any("up to" in line and "█" in line for line in lines)


def test_what_is_not_followed_is_not_told(system: RunningSystem) -> None:
    answer = cli(*BENCH, "--jobs", "3", "--no-end", "--json", url=system.url)
    assert (json.loads(answer.stdout)["ended"], answer.returncode) == (None, 0)


def test_jobs_that_do_not_end_in_time_are_1(system: RunningSystem) -> None:
    assert cli("queues", "pause", "voices", url=system.url).returncode == 0
    time.sleep(1.5)  # within a second every processor knows
    try:
        answer = cli(
            "bench", "--type", "echo", "--payload", '{"text": "x"}', "--jobs", "3",
            "--timeout", "0.5", url=system.url,
        )  # fmt: skip
    finally:
        cli("queues", "resume", "voices", url=system.url)
    assert answer.returncode == 1
    assert "the ends are not all known: 3 jobs had not ended after 0.5 s" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("bench", "--type", "nope"), 2, "'nope'"),
        ((*BENCH, "--rate", "0"), 2, "--rate is a number above 0, not 0"),
        ((*BENCH, "--seconds", "nan"), 2, "--seconds is a number above 0, not nan"),
        ((*BENCH, "--batch", "501"), 2, "--batch is a number from 1 to 500, not 501"),
        ((*BENCH, "--connections", "0"), 2, "--connections is a number from 1 to 100"),
        ((*BENCH, "--rate", "1e6", "--seconds", "2"), 2, "more than 1000000 jobs"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    system: RunningSystem, arguments: tuple[str, ...], code: int, told: str
) -> None:
    answer = cli(*arguments, url=system.url)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert told in answer.stderr


def test_nothing_that_answers_is_5() -> None:
    assert cli(*BENCH, url=f"http://127.0.0.1:{free_port()}").returncode == 5


def test_ctrl_c_tells_what_was_measured(system: RunningSystem) -> None:
    before = system.http.get("/stats").json()["states"]["completed"]
    process = subprocess.Popen(
        [*CLI, *BENCH, "--rate", "20", "--seconds", "600", "--json"],
        env=environment(OBSERVATORY_URL=system.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: system.http.get("/stats").json()["states"]["completed"] > before + 5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, "")
    told = json.loads(stdout)
    assert (told["whole"], told["accepted"] > 0) == (False, True)


# --------------------------------------------------------------------------------- measuring


@contextmanager
def stalling(at: int, for_s: float) -> Iterator[str]:
    """A gateway that accepts everything, and once does not answer for a while."""
    numbers = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            number = next(numbers)
            if number == at:
                time.sleep(for_s)
            body = json.dumps({"jobId": f"j-{number}", "eventId": "e"}).encode()
            self.send_response(202)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with served_by(Handler) as url:
        yield url


@pytest.mark.parametrize(("rate", "slow"), [(("--rate", "50"), True), ((), False)])
def test_a_stall_counts_for_every_request_that_it_delays(rate: tuple[str, ...], slow: bool) -> None:
    with stalling(at=10, for_s=2.0) as url:
        # One connection: a hundred requests fall due while one is not answered.
        answer = cli(
            *BENCH, *rate, "--jobs", "100", "--connections", "1", "--no-end", "--json", url=url
        )
    assert answer.returncode == 0, answer.stderr
    times = json.loads(answer.stdout)["submitSeconds"]
    assert times["max"] >= 2.0
    # A closed loop leaves out those that it did not send meanwhile.
    assert (times["p50"] > 0.5) == slow


def test_percentiles_are_exact_and_bounds_round() -> None:
    times = Times(array("d", [n / 1000 for n in range(1, 101)]))
    assert times.spread() == {"p50": 0.05, "p90": 0.09, "p99": 0.099, "max": 0.1}
    assert times.histogram() == [
        (0.001, 1), (0.002, 1), (0.005, 3), (0.01, 5), (0.02, 10), (0.05, 30), (0.1, 50),
    ]  # fmt: skip
    assert [line.split()[2:4] for line in times.drawn()][:2] == [["1", "ms"], ["2", "ms"]]
    assert Times().spread() is None
    assert Times(array("d", [0.0, 1e-9])).histogram() == [(1e-6, 2)]
    assert Times(array("d", [3.0, 70.0])).histogram()[-1] == (100.0, 1)


@pytest.mark.parametrize(
    ("rate", "seconds", "jobs", "batch", "requests"),
    [(None, 10, None, 1, None), (10, 2, None, 1, 20), (10, 2, 5, 1, 5), (None, None, 7, 3, 3),
     (10, None, 7, 1, 7), (1000, 0.0001, None, 1, 1)],
)  # fmt: skip
def test_the_plan_ends_by_what_comes_first(
    rate: float | None, seconds: float | None, jobs: int | None, batch: int, requests: int | None
) -> None:
    plan = Plan("t", {}, rate, seconds, jobs, batch, 1, True, 1.0)
    assert plan.requests == requests
