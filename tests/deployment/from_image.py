"""Containers of the rendered overlay as such: their image, run by an engine as the manifest says."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cluster import Cluster, Container
from rendering import Document, pod

from development import installation
from development.container_engine import Engine

IMAGE: Final = "observatory:0.1.0"
RESTRICTED: Final = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
"""What is asked of every container of this image by the manifests."""

_PAUSE_S: Final = 0.5


def health_of(engine: Engine, name: str) -> str:
    """What the image's own check says of a container: starting, healthy or unhealthy."""
    said = engine.docker("inspect", "--format", "{{.State.Health.Status}}", name)
    if said == "starting":
        # Whoever waits asks again at once, and each question is a process.
        time.sleep(_PAUSE_S)
    return said


class ContainerOfImage(Container):
    """One container of the overlay, on the host's network as all of `cluster.py` is."""

    def __init__(self, cluster: Cluster, container: Container, engine: Engine) -> None:
        super().__init__(cluster, container.workload, container.container)
        self._engine = engine

    @property
    def known_as(self) -> str:
        """Its name at the engine, which may hold those of other runs as well."""
        return f"observatory-{self.name}-{self._cluster.rabbitmq.port}"

    def health(self) -> str:
        """What the image's own check says of it: starting, healthy or unhealthy."""
        return health_of(self._engine, self.known_as)

    def _environment(self) -> dict[str, str]:
        return dict(self._engine.environment) | self._set()

    def _set(self) -> dict[str, str]:
        values = self._cluster.values(self.container)
        if "OBSERVATORY_PORT" in values:
            values |= {"OBSERVATORY_HOST": "127.0.0.1", "OBSERVATORY_PORT": self._own(8080)}
        return {name: self._cluster.addresses(value, self.part) for name, value in values.items()}

    def _command(self) -> Sequence[str | Path]:
        (entrypoint,) = self.container["command"]
        memory = self.container["resources"]["limits"]["memory"].removesuffix("i").lower()
        # By name alone: what stands on a command line is seen by every user of the machine.
        set_here = [part for name in self._set() for part in ("--env", name)]
        within = self.container.get("workingDir")
        return [
            *(installation.docker(), "run", "--rm", "--name", self.known_as),
            *("--network", "host", "--entrypoint", entrypoint, "--memory", memory),
            *_security(self.workload, self.container),
            *self._mounts(),
            *set_here,
            *(("--workdir", within) if within else ()),
            self.container["image"],
            *self.container["args"],
        ]

    def _mounts(self) -> list[str]:
        volumes = {one["name"]: one for one in pod(self.workload)["volumes"]}
        options: list[str] = []
        for mount in self.container["volumeMounts"]:
            path = mount["mountPath"]
            if "emptyDir" in (volume := volumes[mount["name"]]):
                size = volume["emptyDir"]["sizeLimit"].removesuffix("i").lower()
                options += ["--tmpfs", f"{path}:size={size}"]
            else:
                options += ["--volume", f"{self.path(path)}:{path}:ro"]
        return options


def _security(workload: Document, container: Document) -> list[str]:
    """What the contexts of a pod and its container ask, as options of an engine."""
    whole, own = pod(workload)["securityContext"], container["securityContext"]
    options = ["--user", f"{whole['runAsUser']}:{whole['runAsGroup']}"]
    if own["readOnlyRootFilesystem"]:
        options.append("--read-only")
    for capability in own["capabilities"]["drop"]:
        options += ["--cap-drop", capability]
    if not own["allowPrivilegeEscalation"]:
        options += ["--security-opt", "no-new-privileges"]
    return options
