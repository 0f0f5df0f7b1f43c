"""The terminal view under load: how often does it draw, does its memory stay flat?

python -m benchmarks.terminal [--jobs 1000000] [--minutes 10] [--rate 170] [--json]

Fills a private PostgreSQL, starts each service in a process of its own behind nginx, submits jobs
at a fixed rate (each makes three transitions), and keeps `observatory tui` open in a terminal of
140 by 40, going from view to view. Exit code 1 where it does not hold.
"""

import argparse
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from benchmarks.embedded import machine
from benchmarks.under_load import loaded_system, options_of

REDRAWS_LIMIT: Final = 5.0
GROWTH_LIMIT: Final = 1.2
"""Memory at the end, of that after the first round of views."""

_SIZE: Final = (40, 140)
_VIEWS: Final = "1234567"
_VIEW_S: Final = 10.0
_WARM_UP_S: Final = 60.0
_APART_S: Final = 0.02
"""What is written with no longer pause than this is one redraw."""
_SETTLE_S: Final = 2.0
"""After a key the view is drawn for whoever pressed it; that is not counted."""


class Terminal:
    """The program in a terminal of its own: what it writes, and what it holds."""

    def __init__(self, process: "subprocess.Popen[bytes]", screen: int) -> None:
        self._process = process
        self._screen = screen

    def press(self, key: str) -> None:
        """Press one key."""
        os.write(self._screen, key.encode())

    def redraws(self, seconds: float) -> int:
        """How often it draws in so many seconds."""
        redraws, written_at = 0, 0.0
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._screen], [], [], left)[0]:
                break
            os.read(self._screen, 1 << 16)
            now = time.monotonic()
            redraws += now - written_at > _APART_S
            written_at = now
        if self._process.poll() is not None:
            raise RuntimeError(f"the terminal view has ended with {self._process.returncode}")
        return redraws

    def memory_mb(self) -> float:
        """What it alone holds: what it shares with other processes changes as they come and go."""
        told = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        private = (line.split()[1] for line in told.splitlines() if line.startswith("Private_"))
        return sum(map(int, private)) / 1024


@contextmanager
def terminal_view(url: str) -> Iterator[Terminal]:
    """`observatory tui` of a system."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    command = [sys.executable, "-m", "observatory.interfaces.cli.main", "tui", "--url", url]
    environment = dict(os.environ) | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment)
    os.close(end)
    try:
        yield Terminal(process, screen)
    finally:
        process.terminate()
        process.wait(10)
        os.close(screen)


def watch(
    terminal: Terminal, seconds: float, console: Console
) -> tuple[dict[str, list[float]], list[float]]:
    """Go from view to view; redraws a second of each visit, by view, and MB after each round."""
    told: dict[str, list[float]] = {view: [] for view in _VIEWS}
    memory: list[float] = []
    visits = range(max(len(_VIEWS), round(seconds / _VIEW_S)))
    for visit in track(visits, "watching", console=console, transient=True):
        view = _VIEWS[visit % len(_VIEWS)]
        terminal.press(view)
        terminal.redraws(_SETTLE_S)
        counted_s = _VIEW_S - _SETTLE_S
        told[view].append(terminal.redraws(counted_s) / counted_s)
        if view == _VIEWS[-1]:
            memory.append(terminal.memory_mb())
    return told, memory


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """All of it."""
    with (
        loaded_system(options.jobs, options.rate, options.folder, console) as system,
        system.submitting() as load,
        terminal_view(system.url) as terminal,
    ):
        _, before = watch(terminal, _WARM_UP_S, console)
        visits, after = watch(terminal, options.minutes * 60 - _WARM_UP_S, console)
        memory = before + after
    redraws = {view: max(rates) for view, rates in visits.items()}
    told = {"redraws_per_s": redraws, "memory_mb": memory, "machine": machine()}
    return told | load | {"jobs": options.jobs, "rate": options.rate}


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """What was measured, its limit, and whether it holds."""
    first, *_, last = found["memory_mb"]
    fastest = max(found["redraws_per_s"].values())
    least = min(found["redraws_per_s"].values())
    return [
        (f"{least:.1f} to {fastest:.1f} redraws a second", f"{REDRAWS_LIMIT:g}",
         0 < fastest <= REDRAWS_LIMIT),
        (f"memory {first:.1f} to {last:.1f} MB", f"{GROWTH_LIMIT:g} times",
         last <= first * GROWTH_LIMIT),
        (f"{found['accepted']:,} jobs came, {found['refused']} refused", "none refused",
         found["accepted"] > 0 and not found["refused"]),
    ]  # fmt: skip


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.terminal", description=__doc__)
    options = options_of(parser)
    found = run(options, Console(stderr=True))
    judged = verdicts(found)
    if options.json:
        json.dump(found, sys.stdout, indent=2)
    else:
        for measured, limit, holds in judged:
            print(f"{'holds' if holds else 'FAILS'}  {measured} (limit: {limit})")
        print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    return 0 if all(holds for _, _, holds in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
