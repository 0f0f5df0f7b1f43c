"""The scripts of the kind cluster, against recorded stand-ins: no engine and no cluster can run here.

`docker`, `kind` and `kubectl` are small programs that write down how they were called, with what they
read, and fail where they are told to. What they would do in truth is not tested.
"""

import base64
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rendering import ROOT, component, parsed, rendered, workloads
from test_manifests import SECRETS

_STAND_IN = """#!{python}
import json, os, pathlib, sys
call = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
line = " ".join(call)
read = sys.stdin.read() if "-" in call else ""
key = os.environ.get("OBSERVATORY_API_KEY", "")
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps({{"line": line, "read": read, "key": key}}) + "\\n")
answers = json.loads(os.environ["ANSWERS"])
for part, (code, text) in answers.items():
    if part in line:
        print(text, end="")
        sys.exit(code)
"""

NEW = {"get clusters": (0, "")}
RELEASES = {
    "kind version": (0, "kind v0.29.0 go1.24.2 linux/amd64"),
    "version --client": (0, "Client Version: v1.33.1"),
}


class Machine:
    """A PATH with the stand-ins, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        for name in ("docker", "kind", "kubectl"):
            file = folder / name
            file.write_text(_STAND_IN.format(python=sys.executable))
            file.chmod(file.stat().st_mode | stat.S_IEXEC)

    def run(
        self, script: str, *arguments: str, answers: dict[str, tuple[int, str]] = NEW
    ) -> subprocess.CompletedProcess[str]:
        self.calls_file.write_text("")
        given = {"PATH": str(self.folder), "CALLS": str(self.calls_file)}
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / script, *arguments],
            env=given
            | {
                "ANSWERS": json.dumps(RELEASES | answers),
                "SYSTEMROOT": os.environ.get("SYSTEMROOT", ""),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    @property
    def lines(self) -> list[str]:
        return [call["line"] for call in self.calls]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


THERE = {
    "get clusters": (0, "other\nobservatory\n"),
    "get secret": (0, "secret/there\n"),
}

CHANGES = (
    "kind create cluster",
    "docker build --tag observatory:0.1.0 .",
    "kind load docker-image observatory:0.1.0 --name observatory",
    "apply --filename",
    "create --filename -",
    "create --filename -",
    "delete job migrate",
    "apply --kustomize",
    "wait --for=condition=complete job/migrate",
)


def changing(lines: list[str]) -> list[str]:
    asking = (" get ", "docker info", "kind version", "version --client")
    return [line for line in lines if not any(one in line for one in asking)]


def test_it_is_set_up_in_order(machine: Machine) -> None:
    done = machine.run("setup_cluster.py")

    assert done.returncode == 0, done.stderr
    lines = changing(machine.lines)
    assert all(part in line for part, line in zip(CHANGES, lines, strict=False)), lines
    waits = [line.split()[7] for line in lines[len(CHANGES) :]]
    assert sorted(waits) == sorted(
        f"{one['kind'].lower()}/{component(one)}"
        for one in workloads(rendered("overlays/kind"))
        if one["kind"] != "Job"
    )
    assert all("--context kind-observatory" in line for line in lines if line.startswith("kubectl"))
    assert "http://127.0.0.1:8080" in done.stdout


def test_secrets_have_what_the_manifests_name_and_are_seen_nowhere(machine: Machine) -> None:
    done = machine.run("setup_cluster.py")

    made = [json.loads(call["read"]) for call in machine.calls if call["read"]]
    for name in ("observatory-credentials", "observatory-keys"):
        (secret,) = (one for one in made if one["metadata"]["name"] == name)
        assert SECRETS[name] <= secret["stringData"].keys()
        for value in secret["stringData"].values():
            assert len(value) >= 32
            assert value not in done.stdout + done.stderr + "".join(machine.lines)


def test_what_is_there_is_kept(machine: Machine) -> None:
    done = machine.run("setup_cluster.py", answers=THERE)

    assert done.returncode == 0, done.stderr
    assert not any("create" in line for line in machine.lines)


def test_another_image_under_the_same_name_is_taken_up(machine: Machine) -> None:
    machine.run("setup_cluster.py", answers=THERE)

    (again,) = (line for line in machine.lines if "rollout restart" in line)
    assert again.split()[7:] == [
        f"deployment/{component(one)}"
        for name in ("gateway", "processor", "metrics-engine", "read-model")
        for one in workloads(rendered("overlays/kind"))
        if component(one) == name
    ]
    applied = next(n for n, line in enumerate(machine.lines) if "apply --kustomize" in line)
    assert "rollout restart" not in "".join(machine.lines[:applied])


def test_a_cluster_that_does_not_say_what_it_holds_is_not_overwritten(machine: Machine) -> None:
    done = machine.run("setup_cluster.py", answers={**THERE, "get secret": (1, "refused")})

    assert done.returncode == 1
    assert "observatory-credentials" in done.stderr
    assert not any("create" in line for line in machine.lines)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"kind version": (0, "kind v0.23.0 go1.22")}, "0.24 or newer"),
        ({"version --client": (0, "Client Version: v1.29.4")}, "1.30 or newer"),
        ({"version --client": (1, "")}, "does not tell its release"),
    ],
)
def test_what_is_too_old_is_told_before_anything_is_made(
    machine: Machine, told: dict[str, tuple[int, str]], said: str
) -> None:
    done = machine.run("setup_cluster.py", answers={**NEW, **told})

    assert done.returncode == 1
    assert said in done.stderr
    assert changing(machine.lines) == []


def test_what_is_printed_can_be_given_to_a_shell(machine: Machine) -> None:
    dry = machine.run("integration_gate.py", "--dry-run")

    (line,) = (one for one in dry.stdout.splitlines() if one.startswith("    "))
    assert shlex.split(line)[-1] == '{"path": "json/decoder.py"}'


@pytest.mark.parametrize("at", range(len(CHANGES)))
def test_a_step_that_fails_is_told_and_is_the_last(machine: Machine, at: int) -> None:
    done = machine.run("setup_cluster.py", answers={**NEW, CHANGES[at]: (7, "")})

    assert done.returncode == 1
    assert "ended with 7" in done.stderr
    assert CHANGES[at] in machine.lines[-1]


def test_a_workload_that_does_not_become_ready_is_told(machine: Machine) -> None:
    done = machine.run("setup_cluster.py", answers={**NEW, "deployment/read-model": (1, "")})

    assert (done.returncode, "deployment/read-model" in done.stderr) == (1, True)
    assert "get pods" in machine.lines[-1]


def test_an_engine_that_does_not_answer_is_told_first(machine: Machine) -> None:
    done = machine.run("setup_cluster.py", answers={"docker info": (1, "")})

    assert (done.returncode, machine.lines) == (1, ["docker info"])
    assert "start its engine" in done.stderr


@pytest.mark.parametrize(
    "script", ["setup_cluster.py", "integration_gate.py", "teardown_cluster.py"]
)
def test_what_is_missing_is_named(machine: Machine, script: str) -> None:
    for name in ("docker", "kind", "kubectl"):
        (machine.folder / name).unlink()

    done = machine.run(script)

    assert done.returncode == 1
    assert "must be installed first" in done.stderr


@pytest.mark.parametrize(
    "script", ["setup_cluster.py", "integration_gate.py", "teardown_cluster.py"]
)
def test_a_dry_run_tells_each_step_and_calls_nothing(machine: Machine, script: str) -> None:
    real = machine.run(script, answers={"keys --output": (0, "a2V5"), **NEW})
    told = [line for line in real.stdout.splitlines() if line.startswith("    ")]
    dry = machine.run(script, "--dry-run")

    assert (dry.returncode, machine.lines) == (0, [])
    assert [line for line in dry.stdout.splitlines() if line.startswith("    ")] == told
    assert told


def test_the_gate_is_given_the_key_of_the_cluster(machine: Machine) -> None:
    encoded = base64.b64encode(b"obs_operator_key").decode()

    done = machine.run("integration_gate.py", answers={"get secret": (0, encoded)})

    assert done.returncode == 0, done.stderr
    last = machine.calls[-1]
    assert last["key"] == "obs_operator_key"
    assert "obs_operator_key" not in last["line"]
    cluster = parsed((ROOT / "deploy/kubernetes/overlays/kind/cluster.yaml").read_text())
    port = cluster["nodes"][0]["extraPortMappings"][0]["containerPort"]
    assert f"OBSERVATORY_URL=http://{cluster['name']}-control-plane:{port}" in last["line"]


def test_a_gate_that_fails_or_finds_no_key_is_told(machine: Machine) -> None:
    assert machine.run("integration_gate.py").returncode == 1
    answers = {"get secret": (0, "a2V5"), "docker run": (1, "")}
    assert machine.run("integration_gate.py", answers=answers).returncode == 1


def test_it_is_torn_down(machine: Machine) -> None:
    assert machine.run("teardown_cluster.py").returncode == 0
    assert machine.lines == ["kind delete cluster --name observatory"]
    assert machine.run("teardown_cluster.py", answers={"delete": (3, "")}).returncode == 1
