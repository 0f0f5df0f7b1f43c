"""`observatory stats --watch`: on a terminal, in a pipe, as JSON, and over an outage."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CLI, JOBS, cli, terminal_output
from rich.console import Console

from observatory.interfaces.cli.stats import shown
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


def group(waiting: int) -> dict[str, object]:
    """Of stats, with so many jobs that wait."""
    states = {"scheduled": 0, "queued": waiting, "retrying": 0, "running": 0, "failed": 0}
    spread = {"p50": 599.7, "p95": 599.7}
    rates = {"finishedPerSecond": 0.0, "waitSeconds": spread, "runSeconds": spread}
    return {"states": states, **rates}


def test_a_screen_is_shown_what_fits_and_how_much_does_not() -> None:
    answer = {
        "states": dict.fromkeys(("a", "b", "c", "d", "e", "f", "g"), 0),
        "queues": {"default": group(0)},
        "types": {f"source.kind-{number:02d}": group(number) for number in range(40)},
        "complete": True,
        "rebuilding": False,
        "windowSeconds": 900,
        "asOf": "2026-01-01T00:00:00.000000Z",
        "lagSeconds": 0.1,
    }
    there = Console(width=80, height=24, file=io.StringIO())
    with there.capture() as drawn:
        there.print(shown(answer, 80, 24))
    lines = [line.rstrip() for line in drawn.get().splitlines()]
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    first = next(place for place, line in enumerate(lines) if line.startswith("TYPE")) + 1
    assert lines[first].split()[:2] == ["source.kind-39", "39"]
    told = sum(line.startswith("source.") for line in lines)
    assert told > 2
    assert f"and {40 - told} more; observatory stats tells all" in lines
    assert any(line.startswith("over 900 s, as of 2026") for line in lines)


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
