"""What the scripts of the kind cluster share: its names, and how a command is run and told.

Needs nothing but Python, on Linux, macOS and Windows.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "observatory"
IMAGE = "observatory:0.1.0"
NAMESPACE = "observatory"
OVERLAY = ROOT / "deploy" / "kubernetes" / "overlays" / "kind"
PAGE = "http://127.0.0.1:8080"
KUBECTL = ("kubectl", "--context", f"kind-{NAME}", "--namespace", NAMESPACE)


class Failed(Exception):  # noqa: N818 - says what is so
    """A step did not succeed; the text says which, and what to do."""


def require(programs: Sequence[str]) -> None:
    """See that programs are installed. Raises Failed."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise Failed(f"{', '.join(missing)} must be installed first")


def run(command: Sequence[str], *, why: str, dry: bool, given: str | None = None) -> None:
    """Run one step, its output shown; `given` is what it reads, which is never printed.

    Raises Failed.
    """
    print(f"==> {why}\n    {' '.join(command)}", flush=True)
    if dry:
        return
    # On Windows a program is found by its full name only.
    program = shutil.which(command[0]) or command[0]
    done = subprocess.run([program, *command[1:]], input=given, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise Failed(f"{why}: {command[0]} ended with {done.returncode}")


def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a command that changes nothing prints."""
    program = shutil.which(command[0]) or command[0]
    return subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, cwd=ROOT, check=False
    )


def told(failed: Failed) -> int:
    """Say what failed; the exit code."""
    print(f"error: {failed}", file=sys.stderr)
    return 1
