"""What processes cost: processor time and memory of whole trees of them, from /proc."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.5


def cpu_s(roots: set[int]) -> float:
    """Processor time of these processes and all below them, until now."""
    # Of each its own, and that of children it has waited for.
    ticks = (sum(map(int, fields[11:15])) for _, fields in _below(roots))
    return sum(ticks) / _TICKS


def memory_mib(roots: set[int]) -> float:
    """Memory of these processes and all below them now; what they share counts once (PSS)."""
    total = 0
    for pid, _ in _below(roots):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # It has ended, or is about to.
        line = next((x for x in text.splitlines() if x.startswith("Pss:")), None)
        total += int(line.split()[1]) if line else 0
    return total / 1024


class PeakMemory:
    """The greatest memory of process trees while a block runs, sampled twice a second."""

    def __init__(self, roots: set[int]) -> None:
        self.mib = 0.0
        self._roots = roots
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self._look()

    def _look(self) -> None:
        self.mib = max(self.mib, memory_mib(self._roots))


def _below(roots: set[int]) -> Iterator[tuple[int, list[str]]]:
    """Each process of the trees, with the fields of its `stat` after the name."""
    found: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
    for pid, fields in found.items():
        above = pid
        while above in found and above not in roots:
            above = int(found[above][1])
        if above in roots:
            yield pid, fields
