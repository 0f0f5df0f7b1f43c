"""`observatory stats --watch`: on a terminal, in a pipe, as JSON, and over an outage."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli import CLI, JOBS, cli, terminal_output

from real import RunningSystem, environment, running_system, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("watch")) as running:
        yield running


WATCH = ("stats", "--watch", "--every", "0.1", "--times", "3")


def test_a_terminal_is_drawn_in_place(system: RunningSystem) -> None:
    shown = terminal_output(*WATCH, url=system.url)
    assert shown.count("STATE") >= 3
    assert re.search(r"\x1b\[\d*A", shown), "the cursor goes back up"
    assert "\x1b[?25h" in shown, "and is shown again at the end"


def test_a_pipe_gets_one_after_another_without_codes(system: RunningSystem) -> None:
    shown = cli(*WATCH, url=system.url, FORCE_COLOR="1").stdout
    assert shown.count("STATE") == 3
    assert "\x1b" not in shown


def test_json_is_an_object_a_line(system: RunningSystem) -> None:
    lines = cli(*WATCH, "--json", url=system.url).stdout.splitlines()
    assert [json.loads(line)["windowSeconds"] for line in lines] == [900] * 3


@pytest.mark.parametrize(
    "arguments",
    [("--every", "2"), ("--times", "2"), ("-w", "--every", "0"), ("-w", "--times", "0"),
     ("-w", "--every", "nan")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_2(arguments: tuple[str, ...], system: RunningSystem) -> None:
    answer = cli("stats", *arguments, url=system.url)
    assert (answer.returncode, answer.stdout) == (2, "")


def test_watching_outlives_the_server(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    (tmp_path / "data").mkdir()
    with running_system(JOBS, tmp_path / "data") as system, out.open("w") as stdout:
        with err.open("w") as stderr:
            process = subprocess.Popen(
                [*CLI, "stats", "--watch", "--json", "--every", "0.1"],
                env=environment(OBSERVATORY_URL=system.url),
                stdout=stdout,
                stderr=stderr,
            )
        try:
            until(lambda: out.read_text().count("\n") >= 2)
            system.kill()
            until(lambda: "Trying again" in err.read_text())
            before = out.read_text().count("\n")
            system.start()
            until(lambda: out.read_text().count("\n") > before + 1)
        finally:
            process.kill()
            process.wait(10)
    assert err.read_text().count("Trying again") == 1
