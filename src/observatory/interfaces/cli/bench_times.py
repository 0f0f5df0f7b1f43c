"""Times that were measured: exact percentiles, and a histogram for the terminal."""

import math
import sys
from array import array
from dataclasses import dataclass, field
from typing import Any, Final

from observatory.interfaces.cli.output import seconds

_QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_BAR_COLUMNS: Final = 40
_STEPS: Final = (1.0, 2.0, 5.0)
"""Of a decade; the bounds of the histogram."""


@dataclass
class Times:
    """Durations in seconds, each of them kept: eight bytes a time."""

    values: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, value: float) -> None:
        """One more."""
        self.values.append(value)

    def spread(self) -> dict[str, float] | None:
        """Exact percentiles by nearest rank; None of nothing."""
        ordered = sorted(self.values)
        if not ordered:
            return None
        last = len(ordered) - 1
        return {
            name: ordered[min(last, max(0, math.ceil(q * len(ordered)) - 1))]
            for name, q in _QUANTILES.items()
        }

    def histogram(self) -> list[tuple[float, int]]:
        """Upper bounds, 1, 2 and 5 of each decade, with how many are above the bound before and not
        above this one; from the first that has any to the last."""
        counts: dict[int, int] = {}
        for value in self.values:
            step = _step(value)
            counts[step] = counts.get(step, 0) + 1
        if not counts:
            return []
        return [(_bound(s), counts.get(s, 0)) for s in range(min(counts), max(counts) + 1)]

    def document(self) -> dict[str, Any] | None:
        """For programs."""
        spread = self.spread()
        if spread is None:
            return None
        bins = [{"upTo": bound, "count": count} for bound, count in self.histogram()]
        return {**spread, "histogram": bins}

    def drawn(self) -> list[str]:
        """The histogram, a line a bound."""
        bins = self.histogram()
        most = max(count for _, count in bins)
        block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
        width = max(len(f"{count:,}") for _, count in bins)
        lines: list[str] = []
        for bound, count in bins:
            # What is there is seen, however few there are.
            bar = block * max(bool(count), round(_BAR_COLUMNS * count / most))
            lines.append(f"  up to {_short(bound):>7}  {count:>{width},}  {bar}".rstrip())
        return lines


def _step(value: float) -> int:
    """The number of the bound that a value is not above, counted from one second."""
    if value <= 1e-6:
        return -18
    decade = math.floor(math.log10(value))
    for step in range(3 * decade, 3 * decade + 4):
        if value <= _bound(step):
            return step
    return 3 * decade + 4


def _bound(step: int) -> float:
    decade, place = divmod(step, 3)
    return float(f"{_STEPS[place]:g}e{decade}")


def _short(bound: float) -> str:
    """A bound is a round number: 50 ms, 2 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if bound >= size * 0.999:
            return f"{bound / size:g} {unit}"
    return seconds(bound)
