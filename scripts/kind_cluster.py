"""What the scripts of the kind cluster share: its names, and how a command is run and told.

Needs nothing but Python, on Linux, macOS and Windows.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
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
    print(f"==> {why}\n    {_for_a_shell(command)}", flush=True)
    if dry:
        return
    # On Windows a program is found by its full name only.
    program = shutil.which(command[0]) or command[0]
    done = subprocess.run([program, *command[1:]], input=given, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise Failed(f"{why}: {command[0]} ended with {done.returncode}")


def _for_a_shell(command: Sequence[str]) -> str:
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def require_release(command: Sequence[str], least: tuple[int, int], why: str) -> None:
    """See that a program is not too old, by what it says of itself. Raises Failed."""
    told = ask(command)
    found = re.search(r"v(\d+)\.(\d+)", told.stdout)
    if told.returncode or found is None:
        raise Failed(f"{shlex.join(command)} does not tell its release: {told.stderr.strip()}")
    if (int(found[1]), int(found[2])) < least:
        raise Failed(
            f"{command[0]} {found[1]}.{found[2]} is too old: {least[0]}.{least[1]} or newer {why}"
        )


def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a command that changes nothing prints."""
    program = shutil.which(command[0]) or command[0]
    return subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, cwd=ROOT, check=False
    )


def finished(steps: Callable[[], None]) -> int:
    """Take the steps; the exit code, once it is said what failed."""
    try:
        steps()
    except Failed as failed:
        print(f"error: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; it may be run again", file=sys.stderr)
        return 130
    return 0
