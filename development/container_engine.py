"""A container engine that can build the Dockerfile: the machine's own, or a private one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from development import installation
from development.process import Server, ServerFailed

_TIMEOUT_S: Final = 600
_PULL_TIMEOUT_S: Final = 60
_IN_MEMORY_BYTES: Final = 3 << 30
_MEMORY_BYTES: Final = 3 * _IN_MEMORY_BYTES

# What it keeps is thrown away, so that a disk would only be waited for.
_IN_MEMORY: Final = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'


class EngineUnavailable(RuntimeError):
    """No engine runs here, or none with what is asked for; the text says in a line what failed."""


class EngineFailed(RuntimeError):
    """An engine did not do what it was told; the text ends with what it said."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers, and how it is called."""

    environment: Mapping[str, str]
    """What `docker`, and what calls it, is to be given."""

    private: bool
    """Whether nobody else uses it."""

    def docker(self, *arguments: str | Path, timeout_s: float = _TIMEOUT_S) -> str:
        """What a command of docker prints. Raises EngineFailed."""
        try:
            done = subprocess.run(
                [installation.docker(), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as slow:
            raise EngineFailed(f"docker {arguments[0]}: no end after {timeout_s:.0f} s") from slow
        if done.returncode:
            said = (done.stdout + done.stderr)[-3000:].strip()
            raise EngineFailed(f"docker {' '.join(map(str, arguments))}: {said}")
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether it holds an image, or can fetch it from where that is kept."""
        for asked in (("image", "inspect", image), ("pull", "--quiet", image)):
            try:
                self.docker(*asked, timeout_s=_PULL_TIMEOUT_S)
            except EngineFailed:
                continue
            return True
        return False


class DockerServer(Server):
    """A private Docker. It changes nothing of the machine's network: what it runs uses the host's.

    Needs root. `folder` has a short path, as that of a socket has a limit.
    """

    name = "Docker"
    # Its processes and mounts are in namespaces that end with it: nothing is left to be closed.
    stop_signal = signal.SIGKILL

    def engine(self) -> Engine:
        """How it is called."""
        here = {"DOCKER_HOST": f"unix://{self._socket}", "DOCKER_CONFIG": str(self.folder / "me")}
        kept = {name: one for name, one in os.environ.items() if not name.startswith("DOCKER_")}
        # BuildKit has a network of its own, and fetches what it is made of from a registry.
        return Engine({**kept, **here, "DOCKER_BUILDKIT": "0"}, private=True)

    def stop(self) -> None:
        """End what it runs, as only a Docker that is there removes its control groups; then it."""
        if self.alive:
            running = self.engine().docker("ps", "--quiet").split()
            if running:
                self.engine().docker("rm", "--force", *running)
        super().stop()

    @property
    def _socket(self) -> Path:
        return self.folder / "docker.sock"

    def _prepare(self) -> None:
        self._data.mkdir(exist_ok=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _command(self) -> Sequence[str | Path]:
        in_memory = ("sh", "-c", _IN_MEMORY, "sh", str(_IN_MEMORY_BYTES), self._data)
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(in_memory if _memory_available() >= _MEMORY_BYTES else ()),
            installation.dockerd(),
            *("--host", f"unix://{self._socket}", "--data-root", self._data),
            *("--exec-root", self.folder / "run", "--pidfile", self.folder / "pid"),
            *("--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
        ]

    def _answers(self) -> bool:
        try:
            self.engine().docker("version", timeout_s=10)
        except EngineFailed:
            return False
        return True


def own_engine() -> Engine | None:
    """The engine that this machine runs already, where it is of this very machine."""
    if sys.platform != "linux" or not shutil.which("docker"):
        return None
    engine = Engine(os.environ, private=False)
    try:
        # An engine in a virtual machine, or elsewhere, has not the loopback that servers listen on.
        here = engine.docker("info", "--format", "{{.Name}}", timeout_s=20) == socket.gethostname()
    except EngineFailed:
        return None
    return engine if here else None


@contextmanager
def private_engine() -> Iterator[Engine]:
    """An engine for as long as the block lasts, installed where it is missing and that is allowed.

    Raises EngineUnavailable.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise EngineUnavailable("no container engine answers, and only root on Linux may start one")
    try:
        absent = installation.install([installation.DOCKER])
    except subprocess.SubprocessError as failed:
        raise EngineUnavailable(f"Docker cannot be installed: {failed}") from failed
    if absent:
        raise EngineUnavailable(f"no container engine answers, and {absent[0]}")
    folder = Path(tempfile.mkdtemp(prefix="observatory-engine-"))
    server = DockerServer(folder)
    try:
        try:
            server.start()
        except ServerFailed as failed:
            raise EngineUnavailable(f"dockerd: {_why(str(failed))}") from failed
        yield server.engine()
    finally:
        server.stop()
        shutil.rmtree(folder)


def _memory_available() -> int:
    """What the kernel could give to a process now, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (kilobytes,) = (one.split()[1] for one in lines if one.startswith("MemAvailable:"))
    return int(kilobytes) << 10


def _why(log: str) -> str:
    """The line of a log that says why it ended."""
    lines = [one for one in log.splitlines() if one.strip()]
    told = [one for one in lines if "fail" in one or "unshare:" in one or "permitted" in one]
    return (told or lines)[-1]
