"""What is measured, by what name and in which unit; medians, ratios and targets.

Also read by what draws the plot, in an environment that has nothing of this repository's own.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

OURS, FLOOR, BARE = "observatory", "floor", "bare RabbitMQ round trip"
PEERS = ("Celery", "Celery with events", "Dramatiq", "Taskiq")
"""Titles of the contestants; the best of the peers is taken from these."""

KIND_TITLES = {
    "noop": "jobs that do nothing",
    "10ms": "jobs of 10 ms, 16 slots",
    "5s": "jobs of 5 s, 16 slots",
}


class Measure(NamedTuple):
    """One column of a table."""

    key: str
    title: str
    unit: str
    more_is_better: bool
    decimals: int = 0

    def show(self, value: float) -> str:
        """A value as it is printed."""
        return f"{value:,.{self.decimals}f}"


MEASURES = (
    Measure("enqueue", "enqueue", "jobs/s", True),
    Measure("drain", "drain", "jobs/s", True),
    Measure("end_to_end", "end to end", "jobs/s", True),
    Measure("elapsed", "first submission to last end", "s", False, 1),
    Measure("used", "slots' time used", "%", True),
    Measure("start_p50", "start p50", "ms", False, 1),
    Measure("start_p99", "start p99", "ms", False, 1),
    Measure("cpu", "CPU", "s / 1,000 jobs", False, 2),
    Measure("memory", "peak memory", "MiB", False),
)

Rounds = Sequence[dict[str, float]]
Medians = dict[str, dict[str, float]]
"""By title, then by the key of the measure."""


def medians(results: dict[str, Rounds]) -> Medians:
    """Of the rounds of one kind of job; what no round has is left out."""
    found: Medians = {}
    for title, rounds in results.items():
        keys = {key for one in rounds for key in one}
        found[title] = {
            key: statistics.median(one[key] for one in rounds if key in one) for key in keys
        }
    return found


def measures_of(found: Medians) -> list[Measure]:
    """Those that anybody has."""
    keys = {key for figures in found.values() for key in figures}
    return [measure for measure in MEASURES if measure.key in keys]


def best_peer(found: Medians, measure: Measure) -> float | None:
    """The best of the peers, Celery with and without events counted as one each."""
    values = [found[p][measure.key] for p in PEERS if measure.key in found.get(p, {})]
    if not values:
        return None
    return max(values) if measure.more_is_better else min(values)


def ratio(found: Medians, measure: Measure, to: str | None) -> float | None:
    """Ours as a multiple of another's; of the best peer's where none is named."""
    ours = found.get(OURS, {}).get(measure.key)
    other = best_peer(found, measure) if to is None else found.get(to, {}).get(measure.key)
    return ours / other if ours is not None and other else None


class Target(NamedTuple):
    """What is to be reached, for jobs that do nothing."""

    text: str
    reached: float
    wanted: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "MISSED"
        return f"{verdict}: {self.text} is {self.reached:.2f}, {bound} {self.wanted:.2f} wanted"


def targets(found: Medians) -> list[Target]:
    """Each target whose figures are there."""
    by_key = {measure.key: measure for measure in MEASURES}
    ratios = (
        ("end to end beside the best peer", "end_to_end", None, 4.0, True),
        ("end to end beside Celery with events", "end_to_end", "Celery with events", 10.0, True),
        ("drain beside the best peer", "drain", None, 2.5, True),
        ("CPU a job beside Celery", "cpu", "Celery", 1 / 6, False),
        ("end to end beside the floor", "end_to_end", FLOOR, 0.65, True),
        ("drain beside the floor", "drain", FLOOR, 0.65, True),
    )
    reached = [
        Target(text, value, wanted, at_least)
        for text, key, to, wanted, at_least in ratios
        if (value := ratio(found, by_key[key], to)) is not None
    ]
    for key, wanted in (("start_p50", 10.0), ("start_p99", 50.0)):
        ours, bare = (found.get(title, {}).get(key) for title in (OURS, BARE))
        if ours is not None and bare is not None:
            text = f"{by_key[key].title} above the bare round trip, in ms,"
            reached.append(Target(text, ours - bare, wanted, False))
    return reached
