"""The demo: what it measures, and one full run that ends with every number agreeing."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from observatory import NonRetryable
from observatory.interfaces.cli.demo import HeldBack
from observatory.interfaces.cli.finding import find_application
from real import RunningSystem, environment, running_system, until

STATES = ("scheduled", "queued", "running", "retrying", "completed", "failed", "cancelled")


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    before = list(sys.path)
    find_application(str(Path(__file__).parents[2] / "examples" / "standard_library.py"))
    yield sys.modules.pop("standard_library")
    sys.path[:] = before


class Context:
    """Stands in for the processor's context; a fake is honest here, as only its calls matter."""

    def __init__(self, attempt: int = 2) -> None:
        self.job_id = "job"
        self.attempt = attempt
        self.fractions: list[float | None] = []
        self.lines: list[str] = []
        self.log = self

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self.fractions.append(fraction)

    def info(self, message: str, **fields: Any) -> None:
        self.lines.append(message)

    warning = debug = error = info


SOURCE = '''\
"""A module."""
import os  # not code by itself

class Thing:
    def short(self): return 1

    def long(self, n):
        """Doc."""

        for i in range(n):
            if i and n or not i:
                yield i
'''


def test_a_file_is_measured(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thing.py").write_text(SOURCE)
    monkeypatch.setattr(example, "STANDARD_LIBRARY", tmp_path)
    assert example.analyze("thing.py", Context()) == {
        "path": "thing.py",
        "lines": 12,
        "codeLines": 9,
        "functions": 2,
        "classes": 1,
        "imports": 1,
        "maxDepth": 5,
        "longestFunction": {"name": "long", "lines": 6},
        "mostComplex": {"name": "long", "complexity": 5},
        "complexity": 6,
    }


def test_files_that_are_no_python_fail_for_good(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "STANDARD_LIBRARY", tmp_path)
    broken = {
        "syntax.py": b"def\n",
        "encoding.py": b"# -*- coding: nonsense -*-\n",
        "bytes.py": b"x = '\xff'\n",
        "nul.py": b"x = 1\x00\n",
        "open.py": b"x = (\n",
    }
    for name, source in broken.items():
        (tmp_path / name).write_bytes(source)
        with pytest.raises(NonRetryable, match="is not Python"):
            example.analyze(name, Context())
    with pytest.raises(NonRetryable, match="not in the standard library"):
        example.analyze("../../etc/passwd", Context())
    with pytest.raises(NonRetryable, match="there is no"):
        example.analyze("nothing.py", Context())


def test_large_files_report_how_far_they_are(example: ModuleType) -> None:
    context = Context()
    example.analyze("_pydecimal.py", context)
    assert context.fractions == sorted(context.fractions)
    assert len(context.fractions) >= 3
    assert context.lines


def test_a_few_first_reads_fail_and_say_that_it_is_simulated(example: ModuleType) -> None:
    files = example.source_files()
    failing = []
    said: set[bool] = set()
    for path in files:
        try:
            example._read(path, Context(attempt=1))
        except OSError as error:
            failing.append(path)
            said.add("simulated" in str(error))
    assert said == {True}
    assert 0.01 < len(failing) / len(files) < 0.06
    assert example._read(failing[0], Context(attempt=2))


def test_only_source_files_of_the_library_are_listed(example: ModuleType) -> None:
    files = example.source_files()
    assert len(files) > 500
    assert "json/decoder.py" in files
    assert not [path for path in files if "site-packages" in path]


def test_log_lines_come_after_what_the_demo_tells(capsys: pytest.CaptureFixture[str]) -> None:
    held = HeldBack(sys.stderr)
    print("a warning", file=held)
    assert capsys.readouterr().err == ""
    held.release()
    held.release()
    print("another", file=held)
    assert capsys.readouterr().err == "a warning\nanother\n"


# -------------------------------------------------------------------------------- full run


def states_in_sql(system: RunningSystem) -> dict[str, int]:
    path = next(system.data.glob("*.db"))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT state, count(*) FROM jobs GROUP BY state")
        return dict.fromkeys(STATES, 0) | dict(rows)


def states_in_stats(system: RunningSystem) -> dict[str, int]:
    return system.http.get("/stats").json()["states"]


def states_on_the_command_line(system: RunningSystem) -> dict[str, int]:
    answer = subprocess.run(
        [sys.executable, "-m", "observatory.interfaces.cli.main", "stats", "--json"],
        env=environment(OBSERVATORY_URL=system.url),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(answer.stdout)["states"]


def files_measured(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if " files in " in line]


@pytest.mark.slow
def test_the_demo_ends_with_every_job_terminal_and_every_number_agreeing(tmp_path: Path) -> None:
    files = 600
    asked = ["--demo", "--until-done", "--files", str(files)]
    with running_system(None, tmp_path, arguments=asked) as system:
        assert system.wait_until_ended(timeout_s=300) == 0, system.output
        first = states_in_sql(system)
        assert sum(first.values()) == files + 1
        assert first["failed"] > 0
        assert first["completed"] + first["failed"] == files + 1
        assert "\x1b" not in system.output
        assert "Ctrl-C ends it" not in system.output
        told, _, _ = system.output.partition(" files in ")
        assert not [line for line in told.splitlines() if line.startswith("{")]

    # A second run on the same data keeps its numbers apart, and goes on serving.
    few = 200
    with running_system(None, tmp_path, arguments=["--demo", "--files", str(few)]) as system:
        until(lambda: "Ctrl-C ends it" in system.output, timeout_s=300)
        assert files_measured(system.output) == [str(files), str(few)]
        stored = states_in_sql(system)
        assert sum(stored.values()) == files + few + 2
        assert stored["completed"] + stored["failed"] == files + few + 2
        assert stored["failed"] >= first["failed"]
        until(lambda: states_in_stats(system) == stored)
        assert states_on_the_command_line(system) == stored
        system.signal(signal.SIGINT)
        assert system.wait_until_ended() == 0
        assert "Traceback" not in system.output
