"""`observatory up`: what it serves and where, and why it does not."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import JOBS, cli

from development.process import free_port
from real import RunningSystem, running_system, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with running_system(JOBS, tmp_path_factory.mktemp("cli")) as running:
        yield running


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
