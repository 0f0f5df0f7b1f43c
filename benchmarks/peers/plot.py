"""Draws what a run measured: a panel a measure, a bar a contestant, each with its value.

python -m benchmarks.peers.plot RESULTS.json PLOT

Run with the peers' Python, which has matplotlib.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.peers.figures import (
    BARE,
    FLOOR,
    KIND_TITLES,
    MEASURES,
    OURS,
    Measure,
    Medians,
    Rounds,
    medians,
)

_COLOURS = {OURS: "#1f6feb", FLOOR: "#c9d1d9", BARE: "#c9d1d9"}
_PEER = "#8b949e"
_TEXT, _FAINT = "#24292f", "#6e7781"
_COLUMNS = 3
_BY_KEY = {measure.key: measure for measure in MEASURES}

_PANELS = {
    "noop": (("enqueue",), ("drain",), ("end_to_end",), ("start_p50", "start_p99"), ("cpu",),
             ("memory",)),
    "10ms": (("drain",), ("end_to_end",), ("cpu",)),
    "5s": (("elapsed",), ("used",), ("memory",)),
}  # fmt: skip
"""What is drawn of each kind of job; measures in one panel share its axis."""


def draw(document: dict[str, Any], path: Path) -> None:
    """Write the plot."""
    results: dict[str, dict[str, Rounds]] = document["results"]
    panels = {kind: _PANELS[kind] for kind in results}
    rows = {kind: -(-len(keys) // _COLUMNS) for kind, keys in panels.items()}
    mpl.rcParams |= {"font.family": "DejaVu Sans", "text.color": _TEXT, "svg.hashsalt": "peers"}
    heights = [2.7 * count + 0.7 for count in rows.values()]
    figure = plt.figure(figsize=(15, sum(heights) + 0.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.07)  # inches
    figure.suptitle(_title(document), x=0.01, ha="left", fontsize=10.5, color=_FAINT)
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False, hspace=0.04)
    for (kind, count), (part,) in zip(rows.items(), parts, strict=True):
        title = KIND_TITLES[kind]
        part.suptitle(title[0].upper() + title[1:], x=0.01, ha="left", fontsize=14, weight="bold")
        axes = part.subplots(count, _COLUMNS, squeeze=False).flatten()
        found = medians(results[kind])
        for keys, axis in zip(panels[kind], axes, strict=False):
            _panel(axis, found, [_BY_KEY[key] for key in keys])
        for axis in axes[len(panels[kind]) :]:
            axis.set_visible(False)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _title(document: dict[str, Any]) -> str:
    machine = document["machine"]
    counts = {
        kind: max(len(rounds) for rounds in results.values())
        for kind, results in document["results"].items()
    }
    rounds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    return (
        f"Medians (rounds: {rounds}); {machine['cores']} cores ({machine['processor']}), shared by "
        f"servers, workers and producer; {document['started'][:10]}"
    )


def _panel(axis: Any, found: Medians, measures: list[Measure]) -> None:
    """One bar a contestant and measure, the first contestant on top."""
    titles = [t for t, figures in found.items() if any(m.key in figures for m in measures)]
    height = 0.76 / len(measures)
    greatest = 0.0
    for index, measure in enumerate(measures):
        for place, title in enumerate(titles):
            value = found[title].get(measure.key)
            if value is None:
                continue
            greatest = max(greatest, value)
            at = place + (index - (len(measures) - 1) / 2) * height
            colour = _COLOURS.get(title, _PEER)
            axis.barh(at, value, height * 0.94, color=colour, alpha=1.0 - 0.4 * index)
            name = f"  {measure.title.removeprefix('start ')}" if len(measures) > 1 else ""
            weight = "bold" if title == OURS else "normal"
            axis.annotate(
                f"{measure.show(value)}{name}", (value, at), (4, 0), textcoords="offset points",
                va="center", fontsize=8.5 if name else 9.5, fontweight=weight,
            )  # fmt: skip
    axis.set_yticks(range(len(titles)), titles, fontsize=9.5)
    axis.set_ylim(len(titles) - 0.4, -0.6)
    axis.set_xlim(0, (greatest or 1.0) * 1.22)
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0)
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color(_FAINT)
    axis.set_title(_caption(measures), fontsize=10.5, loc="left", color=_TEXT)


def _caption(measures: list[Measure]) -> str:
    better = "more is better" if measures[0].more_is_better else "less is better"
    name = "start after submission" if len(measures) > 1 else measures[0].title
    return f"{name}, {measures[0].unit} ({better})"


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
