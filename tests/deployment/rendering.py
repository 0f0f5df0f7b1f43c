"""The manifests as they are applied: rendered by kustomize, read as documents."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
COMPONENT: Final = "app.kubernetes.io/component"
OVERLAYS: Final = ("base", "overlays/kind", "overlays/production")

Document = dict[str, Any]


def kubectl() -> str:
    """The kubectl of the development packages, or of the machine; either has kustomize in it."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("kubectl", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    assert found, "kubectl is missing: it is one of the development packages (uv sync)"
    return found


@functools.cache
def text(overlay: str | Path) -> str:
    """What `kubectl apply --kustomize` would send, for an overlay of the repository or a folder."""
    done = subprocess.run(
        [kubectl(), "kustomize", KUBERNETES / overlay], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(overlay: str | Path) -> list[Document]:
    """Every document of an overlay, of its own each time."""
    return [parsed(one) for one in re.split(r"^---$", text(overlay), flags=re.MULTILINE)]


def parsed(text: str) -> Any:
    """A document of YAML."""
    return yaml.safe_load(text)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    """Those of some kinds."""
    return [one for one in documents if one["kind"] in kinds]


def workloads(documents: list[Document]) -> list[Document]:
    """What makes pods."""
    return of_kind(documents, "Deployment", "StatefulSet", "Job")


def pod(workload: Document) -> Document:
    """The specification of a workload's pods."""
    return workload["spec"]["template"]["spec"]


def containers(documents: list[Document]) -> Iterator[tuple[Document, Document]]:
    """Every container, with its workload."""
    for workload in workloads(documents):
        for container in pod(workload)["containers"]:
            yield workload, container


def component(document: Document) -> str:
    """Which part of the system it is of."""
    return document["metadata"]["labels"][COMPONENT]


def environment(container: Document, documents: list[Document]) -> dict[str, str]:
    """What is set in a container, ConfigMaps filled in; for a secret a word that names it."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for one in container.get("env", ()):
        if "value" in one:
            found[one["name"]] = one["value"]
        else:
            reference = one["valueFrom"]["secretKeyRef"]
            found[one["name"]] = f"{reference['name']}.{reference['key']}"
    return found
