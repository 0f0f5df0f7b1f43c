"""The tables, and the targets."""

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmarks.peers.figures import (
    FLOOR,
    KIND_TITLES,
    Measure,
    Medians,
    Rounds,
    measures_of,
    medians,
    ratio,
    targets,
)

_NOTHING = "–"

WIDTH = 126
"""Of the widest table; for where the output has no width of its own."""


def show(console: Console, document: dict) -> None:
    """Print the results of a run."""
    results: dict[str, dict[str, Rounds]] = document["results"]
    for kind, rounds in results.items():
        console.print(_table(kind, rounds))
    if "noop" in results:
        for target in targets(medians(results["noop"])):
            console.print(Text(str(target), style="green" if target.met else "yellow"))
    for failure in document["failures"]:
        console.print(Text(f"not measured: {failure}", style="red"))
    machine = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    console.print(f"{document['started']}, {machine}", style="dim")


def _table(kind: str, results: dict[str, Rounds]) -> Group:
    found = medians(results)
    measures = measures_of(found)
    count = max(len(rounds) for rounds in results.values())
    rounds = "1 round" if count == 1 else f"median of {count} rounds"
    shown = Table(title=f"{KIND_TITLES[kind]}: {rounds}", title_justify="left")
    shown.add_column("", no_wrap=True)
    for measure in measures:
        shown.add_column(f"{measure.title},\n{measure.unit}", justify="right", no_wrap=True)
    for title, figures in found.items():
        cells = (_cell(figures, measure) for measure in measures)
        shown.add_row(title, *cells, style="bold" if title == "observatory" else None)
    shown.add_section()
    for text, to in (("ours / best peer", None), ("ours / floor", FLOOR)):
        shown.add_row(text, *(_times(found, measure, to) for measure in measures))
    return Group(shown, "")


def _cell(figures: dict[str, float], measure: Measure) -> str:
    return measure.show(figures[measure.key]) if measure.key in figures else _NOTHING


def _times(found: Medians, measure: Measure, to: str | None) -> str:
    value = ratio(found, measure, to)
    return _NOTHING if value is None else f"{value:.2f} x"
