"""What the Dockerfile stands on, where no registry can be reached: stand-ins under the same names.

Made of packages of Debian, npm and PyPI. A stand-in has the programs of the image it stands in for,
if not in the same versions: Python is Debian's.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from development import installation
from development.container_engine import (
    Engine,
    EngineFailed,
    EngineUnavailable,
    own_engine,
    private_engine,
)

_TIMEOUT_S: Final = 900
_SUITE: Final = "bookworm"
_PACKAGES: Final = ("ca-certificates", "python3")
_ARCHITECTURES: Final = {"x86_64": "x64", "aarch64": "arm64"}
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"

# In memory, as dpkg waits for the disk after every file; in namespaces of its own, so that nothing
# stays mounted or goes on running whatever happens.
_TREE: Final = """
set -e
mount -t tmpfs none "$1"
"$3" --variant=minbase --include="$4" "$5" "$1/tree" >&2
ln -s python3 "$1/tree/usr/bin/python"
tar --create --file "$2" --directory "$1/tree" --one-file-system \
    --exclude './proc/*' --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*' \
    --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' .
"""


def bases_of(dockerfile: Path) -> list[str]:
    """The images that a Dockerfile begins its stages with or copies from, each once."""
    text = dockerfile.read_text()
    named = re.findall(r"^FROM (\S+)|--from=(\S+[:@]\S+)", text, re.MULTILINE)
    return list(dict.fromkeys(one or other for one, other in named))


@contextmanager
def engine_for(dockerfile: Path) -> Iterator[tuple[Engine, list[str]]]:
    """An engine that holds every base of a Dockerfile, and those of them that are stand-ins.

    Stand-ins are made in a private engine alone: in another they would be taken for what they are
    called. Raises EngineUnavailable.
    """
    bases = bases_of(dockerfile)
    own = own_engine()
    if own is not None and all(map(own.has, bases)):
        yield own, []
        return
    with private_engine() as engine:
        stand_ins: list[str] = []
        try:
            if not all(map(engine.has, bases)):
                stand_ins = bases
                _bring(engine, bases)
            (python,) = (one for one in bases if _kind(one) == "python")
            engine.docker("run", "--rm", "--network", "host", python, "python", "--version")
        except (EngineFailed, OSError, subprocess.SubprocessError) as failed:
            said = str(failed).strip().splitlines()[-1]
            raise EngineUnavailable(f"no base that runs, of a registry or made: {said}") from failed
        yield engine, stand_ins


def _kind(image: str) -> str:
    """The last part of an image's name, without its version."""
    return re.split("[:@]", image)[0].rpartition("/")[2]


def _bring(engine: Engine, bases: list[str]) -> None:
    """Give an engine the stand-ins, made once a machine. Raises as `_make` does."""
    certificates = os.environ.get("SSL_CERT_FILE")
    key = hashlib.sha256(Path(__file__).read_bytes())
    key.update(" ".join([*bases, platform.machine()]).encode())
    key.update(Path(certificates).read_bytes() if certificates else b"")
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "observatory"
    file = kept / f"image-bases-{key.hexdigest()[:16]}.tar"
    if file.exists():
        engine.docker("load", "--quiet", "--input", file)
        return
    _make(engine, bases)
    kept.mkdir(parents=True, exist_ok=True)
    # Under its name only once it is whole; and those that nobody asks for any more take much room.
    partial = kept / f"partial-{os.getpid()}.tar"
    try:
        engine.docker("save", "--output", partial, *bases)
        for old in kept.glob("image-bases-*.tar"):
            old.unlink(missing_ok=True)
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)


def _make(engine: Engine, bases: list[str]) -> None:
    """Make a stand-in for each base. Raises EngineFailed, OSError and SubprocessError."""
    by_kind = {_kind(one): one for one in bases}
    if unknown := by_kind.keys() - {"python", "node", "uv"}:
        raise EngineFailed(f"nothing stands in for {', '.join(unknown)}")
    with TemporaryDirectory(prefix="observatory-bases-") as temporary, ThreadPoolExecutor() as pool:
        folder = Path(temporary)
        node = pool.submit(_node, folder / "node", by_kind["node"], by_kind["python"])
        uv = pool.submit(_uv, folder / "uv", by_kind["uv"])
        _debian(folder / "debian.tar")
        engine.docker("import", folder / "debian.tar", "stand-in:debian")
        _python(folder / "python")
        for kind, made in (("python", folder / "python"), ("node", node), ("uv", uv)):
            context = made if isinstance(made, Path) else made.result()
            engine.docker("build", "--network", "host", "--tag", by_kind[kind], context)


def _debian(file: Path) -> None:
    """A minimal Debian with Python, as a tar file."""
    if absent := installation.install([installation.DEBOOTSTRAP]):
        raise EngineFailed(str(absent[0]))
    tree = file.with_suffix("")
    tree.mkdir()
    _run(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", _TREE, "tree", tree, file),
        *(installation.debootstrap(), ",".join(_PACKAGES), _SUITE),
    )


def _python(context: Path) -> None:
    """The base of Python. A machine behind a proxy that signs what it passes on has its own
    certificates, which whoever fetches something during the build has to know."""
    lines = ["FROM stand-in:debian", 'LABEL stand-in="of the image whose name this has"']
    context.mkdir()
    if own := os.environ.get("SSL_CERT_FILE"):
        shutil.copyfile(own, context / "certificates")
        named = " ".join(
            f"{one}={_CERTIFICATES}" for one in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
        )
        lines += [f"COPY certificates {_CERTIFICATES}", f"ENV {named}"]
    (context / "Dockerfile").write_text("\n".join([*lines, 'CMD ["python3"]', ""]))


def _node(context: Path, name: str, python: str) -> Path:
    """The base of Node, from packages of npm's registry, on what Python's base has."""
    version = re.split("[:-]", name)[1]
    package = f"node-linux-{_ARCHITECTURES[platform.machine()]}"
    fetched = context / "fetched"
    fetched.mkdir(parents=True)
    quietly = ("--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _run("npm", "install", *quietly, "--prefix", fetched, f"{package}@{version}", "npm@10")
    modules, local = fetched / "node_modules", context / "local"
    (local / "bin").mkdir(parents=True)
    (modules / package / "bin" / "node").rename(local / "bin" / "node")
    (local / "lib" / "node_modules").mkdir(parents=True)
    (modules / "npm").rename(local / "lib" / "node_modules" / "npm")
    for program in ("npm", "npx"):
        target = Path("..", "lib", "node_modules", "npm", "bin", f"{program}-cli.js")
        (local / "bin" / program).symlink_to(target)
    shutil.rmtree(fetched)
    (context / "Dockerfile").write_text(f"FROM {python}\nCOPY local /usr/local\n")
    return context


def _uv(context: Path, name: str) -> Path:
    """The image that has nothing but uv, from its wheel."""
    version = name.rpartition(":")[2]
    fetched = context / "fetched"
    fetched.mkdir(parents=True)
    # An environment that uv made has no pip.
    pip = ("pip",) if importlib.util.find_spec("pip") else ("uv", "pip")
    install = ("install", "--quiet", "--no-deps", "--target", fetched, f"uv=={version}")
    _run(sys.executable, "-m", *pip, *install)
    (fetched / "bin" / "uv").rename(context / "uv")
    shutil.rmtree(fetched)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY uv /uv\n")
    return context


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise EngineFailed(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
