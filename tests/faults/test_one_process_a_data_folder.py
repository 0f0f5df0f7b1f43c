"""The lock: a second process on the same data is refused with words, and the first feels nothing."""

import subprocess
import sys
from pathlib import Path

from workload import JOBS, settings

from development.process import free_port
from real import MODULE_NAME, environment, running_system


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        second = _second(tmp_path, system.data)
        said = second.stdout + second.stderr
        assert second.returncode not in (0, 1), said
        assert "another process" in said, said
        assert str(system.data) in said, said
        assert "Traceback" not in said, said
        answer = system.http.post("/jobs", json={"type": "wait", "payload": {"n": 1, "pause": 0}})
        job = system.http.get(answer.headers["location"], headers={"Prefer": "wait=10"}).json()
        assert job["state"] == "completed"


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    with running_system(JOBS, tmp_path, **settings(tmp_path)) as system:
        assert _second(tmp_path, system.data).returncode != 0, "vacuous: there is no lock"
        system.kill()
        assert (system.data / "observatory.lock").exists(), "vacuous: no lock file was left"
        system.start()
        assert system.http.get("/readyz").status_code == 200


def _second(folder: Path, data: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "observatory.interfaces.cli.main", "up", MODULE_NAME]
    return subprocess.run(
        [*command, "--port", str(free_port()), "--data", str(data)],
        cwd=folder,
        env=environment(**settings(folder)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
