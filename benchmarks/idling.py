"""How long a processor had a free slot while jobs waited, from what the handlers noted."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple


class Note(NamedTuple):
    """A handler's own line: it began, or it ended."""

    worker: int
    """The process."""
    job: int
    at: float
    began: bool


class Idling(NamedTuple):
    """The longest time that a processor idled while jobs waited, and when that was."""

    seconds: float
    since: float


def read(path: Path) -> list[Note]:
    """All lines that are complete."""
    text = path.read_text() if path.exists() else ""
    return [Note(*json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def longest(
    notes: Iterable[Note], accepted: Mapping[int, float], slots: Mapping[int, int]
) -> dict[int, Idling]:
    """For each processor; one that ran nothing has idled from the first acceptance on.

    Args:
        notes: what the handlers noted.
        accepted: when each job was.
        slots: of each processor.
    """
    moments = [(at, None, 0) for at in accepted.values()]
    moments += [(note.at, note.worker, 1 if note.began else -1) for note in notes]
    waiting, running = 0, Counter[int]()
    since: dict[int, float] = {}
    found = dict.fromkeys(slots, Idling(0.0, 0.0))
    for at, worker, change in sorted(moments, key=lambda moment: moment[0]):
        if worker is None:
            waiting += 1
        else:
            running[worker] += change
            waiting -= change == 1
        for one, limit in slots.items():
            if waiting > 0 and running[one] < limit:
                since.setdefault(one, at)
            elif one in since:
                began = since.pop(one)
                found[one] = max(found[one], Idling(at - began, began))
    return found
