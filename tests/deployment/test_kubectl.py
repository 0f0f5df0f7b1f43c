"""Every kubectl command that the documents and scripts tell is one that kubectl takes, of what is there.

No cluster can run here: kubectl itself reads the commands, and fails only as no server answers.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from rendering import ROOT, Document, kubectl, of_kind, parsed, rendered
from test_manifests import SECRETS

_SPAN: Final = re.compile(
    r"`(kubectl [^`]+)`|^\s*(?:[a-z ,0-9-]+: )?(kubectl .+)$", re.MULTILINE | re.I
)
_KINDS: Final = {
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "job": "Job",
    "service": "Service",
    "secret": "Secret",
}
_KUBECONFIG: Final = """
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
contexts:
  - {name: kind-observatory, context: {cluster: nowhere, user: nobody, namespace: default}}
current-context: kind-observatory
users: [{name: nobody, user: {}}]
"""


class Command(NamedTuple):
    """Where it is told, and its words."""

    where: str
    words: list[str]


def commands_of(where: str, text: str) -> list[Command]:
    """The kubectl commands of a text: in backquotes, or on a line of their own."""
    found = ((one[1] or one[2]).replace("\n", " ") for one in _SPAN.finditer(text))
    return [Command(where, shlex.split(one)) for one in found]


def _documented() -> list[Command]:
    files = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [one for file in files for one in commands_of(file.name, file.read_text())]


def _printed() -> list[Command]:
    """What the scripts run, and tell their reader to run."""
    found: list[Command] = []
    for script in ("setup_cluster.py", "integration_gate.py", "teardown_cluster.py"):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / script, "--dry-run"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        found += commands_of(script, done.stdout)
    return found


def value_of(command: Command, flag: str) -> str | None:
    words = command.words
    return words[words.index(flag) + 1] if flag in words else None


def named(command: Command) -> list[tuple[str, str]]:
    """The kinds and names that a command is about."""
    words = command.words
    pairs = [tuple(one.split("/", 1)) for one in words if one.split("/")[0] in _KINDS]
    spaced = [(one, words[n + 1]) for n, one in enumerate(words[:-1]) if one in _KINDS]
    return [(one[0], one[1]) for one in pairs if len(one) == 2] + spaced


def missing(command: Command, documents: list[Document]) -> list[str]:
    """What a command is about and the manifests do not have."""
    faults: list[str] = []
    (namespace,) = of_kind(documents, "Namespace")
    if value_of(command, "--namespace") != namespace["metadata"]["name"]:
        faults.append("the namespace")
    for kind, name in named(command):
        if kind == "secret":
            faults += [] if name in SECRETS else [name]
            continue
        found = [one for one in of_kind(documents, _KINDS[kind]) if one["metadata"]["name"] == name]
        if not found:
            faults.append(f"{kind}/{name}")
        elif "port-forward" in command.words:
            ports = {port["port"] for port in found[0]["spec"]["ports"]}
            faults += [] if int(command.words[-1]) in ports else [f"port {command.words[-1]}"]
    return faults


def refusal(command: Command, folder: Path) -> str:
    """What kubectl says of a command but that no server answers."""
    (folder / "config").write_text(_KUBECONFIG)
    done = subprocess.run(
        [kubectl(), *command.words[1:]],
        env=dict(os.environ) | {"KUBECONFIG": str(folder / "config")},
        input='{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "any"}}',
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return "" if "connect" in done.stderr and "refused" in done.stderr else done.stderr or "it ran"


def test_commands_of_documents_are_of_what_is_there_and_kubectl_takes_them(tmp_path: Path) -> None:
    told = _documented()

    assert len(told) >= 3
    overlays = [rendered(one) for one in ("overlays/kind", "overlays/production")]
    for command in told:
        for documents in overlays:
            assert missing(command, documents) == [], command
        assert refusal(command, tmp_path) == "", command


def test_commands_of_scripts_are_of_what_is_there_and_kubectl_takes_them(tmp_path: Path) -> None:
    told = _printed()

    assert len(told) >= 20
    cluster = parsed((ROOT / "deploy/kubernetes/overlays/kind/cluster.yaml").read_text())
    documents = rendered("overlays/kind")
    for command in told:
        assert value_of(command, "--context") == f"kind-{cluster['name']}"
        assert missing(command, documents) == [], command
        assert refusal(command, tmp_path) == "", command


@pytest.mark.parametrize(
    "line",
    [
        "rollout restart deployment/web",
        "--namespace observatory rollout restart deployment/edge",
        "--namespace observatory get secret observatory-key",
        "--namespace observatory port-forward service/grafana 3001",
        "--namespace observatory scale deployment/processor --replica 4",
        "--namespace observatory rollout restrt deployment/web",
    ],
)
def test_a_command_that_would_fail_would_be_found(line: str, tmp_path: Path) -> None:
    (command,) = commands_of("here", f"Do `kubectl {line}` now.")

    assert missing(command, rendered("overlays/kind")) or refusal(command, tmp_path)
