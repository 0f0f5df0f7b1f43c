"""What saturates first at a load, and how much of each part it takes.

python -m benchmarks.capacity                measure, predict, and keep the figures
python -m benchmarks.capacity --from FILE    predict from figures that were kept
python -m benchmarks.capacity --rates 10000,100000

From an idle run it takes what a part costs without any job; from one flat out and one at a light
load, in which a commit carries fewer jobs, what each job costs a part and what each commit does.
A part that divides is given as many processes as it takes; one that does not has a greatest load.
"""

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import capacity_runs

KEPT: Final = Path(__file__).parent / "results" / "capacity.json"
BUSY: Final = 0.7
"""Of a core, how much a part is to use: past that queues before it grow."""
CHECKED: Final = (200, 1000)
"""Jobs a second at which predictions are compared with measurements."""
LIGHT: Final = 400
"""Jobs a second of the run that tells commits from jobs."""
_COMMITS: Final = "postgres commits"
_RATE_MAX: Final = 1e8
_DAY_S: Final = 86_400


@dataclass(frozen=True)
class Part:
    """How a part grows.

    Attributes:
        divides: whether several share its work; else each would do all of it, or one alone works.
        cores: how many cores one of it uses at most.
        why: in words.
    """

    divides: bool
    cores: float
    why: str


GROWTH: Final[Mapping[str, Part]] = {
    "gateway": Part(True, 1, "each request goes to one of them"),
    "processor": Part(True, 1, "each work message goes to one of them"),
    "metrics-engine": Part(False, 1, "each reads the whole log, and each batch is added once"),
    "read-model": Part(False, 1, "each follows the whole log for those who watch it live"),
    "postgres": Part(False, 32, "one primary commits all, on the cores of its machine"),
    "rabbitmq": Part(False, 1, "one log, and a leader for each queue, of one Erlang process each"),
    "redis": Part(False, 1, "one thread"),
}


@dataclass(frozen=True)
class Cost:
    """Processor seconds that a part uses.

    Attributes:
        idle: a second, without any job.
        job: a job, whatever a commit carries.
        commit: a commit of the record, with all that goes with it: a message, a batch of events.
    """

    idle: float
    job: float
    commit: float


def commits(figures: Mapping[str, Any], rate: float) -> float:
    """Commits a job at so many jobs a second.

    As many as at the light load, until there are as many a second as flat out: from there on each
    carries more jobs, up to as many as flat out. That more would fit is not known.
    """
    run = figures["flat_out"]
    least, most = (figures[name]["per_job"][_COMMITS] for name in ("flat_out", "light"))
    a_second = least * run["jobs"] / run["seconds"]
    return max(least, min(most, a_second / rate))


def costs(figures: Mapping[str, Any]) -> dict[str, Cost]:
    """What each part costs."""
    least, most = (figures[name]["per_job"][_COMMITS] for name in ("flat_out", "light"))
    found: dict[str, Cost] = {}
    for part, idle in figures["idle"].items():
        busy, light = (_a_job(figures[name], part, idle) for name in ("flat_out", "light"))
        commit = min(max(0.0, (light - busy) / (most - least)), busy / least)
        found[part] = Cost(idle, busy - commit * least, commit)
    return found


def _a_job(run: Mapping[str, Any], part: str, idle: float) -> float:
    return max(0.0, run["cpu_s"][part] - idle * run["seconds"]) / run["jobs"]


def predicted(figures: Mapping[str, Any], rate: float) -> dict[str, float]:
    """Cores that each part uses at so many jobs a second."""
    carried = commits(figures, rate)
    return {
        part: cost.idle + (cost.job + cost.commit * carried) * rate
        for part, cost in costs(figures).items()
    }


def greatest(figures: Mapping[str, Any]) -> dict[str, float]:
    """Jobs a second at which one of each part is as busy as it may be."""
    found: dict[str, float] = {}
    for part in costs(figures):
        low, high = 1.0, _RATE_MAX
        if predicted(figures, high)[part] <= GROWTH[part].cores * BUSY:
            continue
        for _ in range(60):
            middle = (low + high) / 2
            fits = predicted(figures, middle)[part] <= GROWTH[part].cores * BUSY
            low, high = (middle, high) if fits else (low, middle)
        found[part] = low
    return found


def needed(figures: Mapping[str, Any], rate: float) -> dict[str, dict[str, Any]]:
    """Of each part: cores, how many would be needed, and whether that many would help."""
    limits = greatest(figures)
    return {
        part: {
            "cores": round(cores, 2),
            "needed": math.ceil(cores / (GROWTH[part].cores * BUSY)),
            "possible": GROWTH[part].divides or rate <= limits.get(part, math.inf),
        }
        for part, cores in predicted(figures, rate).items()
    }


def compared(figures: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Predicted and measured processor seconds of each checked load, and measured by predicted."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for run in figures["checked"]:
        wanted = {
            part: cores * run["seconds"]
            for part, cores in predicted(figures, run["jobs"] / run["seconds"]).items()
        }
        found[f"{run['rate']:g}"] = {
            part: {
                "predicted_s": round(wanted[part], 2),
                "measured_s": used,
                "ratio": round(used / wanted[part], 2),
            }
            for part, used in run["cpu_s"].items()
        }
    return found


def measure() -> dict[str, Any]:
    """Every figure, from five runs on new servers."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "idle": capacity_runs.idle(15),
        "flat_out": capacity_runs.run(jobs=20_000, rate=None),
        "light": capacity_runs.run(jobs=30 * LIGHT, rate=LIGHT),
        "checked": [capacity_runs.run(jobs=30 * rate, rate=rate) for rate in CHECKED],
    }


def report(figures: Mapping[str, Any], rates: list[float]) -> str:
    """The tables, in Markdown."""
    found, limits, run = costs(figures), greatest(figures), figures["flat_out"]
    lines = [
        "| part | CPU ms a job | and a commit | one of it does, jobs/s | |",
        "|---|---|---|---|---|",
    ]
    for part in sorted(found, key=lambda one: limits.get(one, math.inf)):
        shown = f"{limits[part]:,.0f}" if part in limits else "any"
        job, commit = found[part].job * 1000, found[part].commit * 1000
        lines.append(f"| {part} | {job:.3f} | {commit:.2f} | {shown} | {GROWTH[part].why} |")
    for rate in rates:
        lines += [
            "",
            f"At {rate:,.0f} jobs/s:",
            "",
            "| part | cores | needed | |",
            "|---|---|---|---|",
        ]
        for part, one in needed(figures, rate).items():
            beyond = "" if one["possible"] else "more than one does not help"
            lines.append(f"| {part} | {one['cores']:g} | {one['needed']} | {beyond} |")
        moved = run["per_job"]
        lines += ["", *(f"- {name}: {value * rate:,.0f} a second" for name, value in moved.items())]
        day = moved["postgres bytes kept"] * rate * _DAY_S / 1e12
        lines.append(f"- the record grows by {day:.2f} TB a day")
    for rate, parts in compared(figures).items():
        lines += ["", f"Checked at {rate} jobs/s, CPU s:", ""]
        lines += ["| part | predicted | measured | ratio |", "|---|---|---|---|"]
        lines += [
            f"| {part} | {one['predicted_s']:g} | {one['measured_s']:g} | {one['ratio']:g} |"
            for part, one in parts.items()
        ]
    return "\n".join(lines)


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--from", dest="file", type=Path, help="figures that were kept")
    parser.add_argument("--rates", default="10000,100000", help="jobs a second")
    given = parser.parse_args()
    rates = [float(one) for one in given.rates.split(",")]
    if given.file is not None:
        print(report(json.loads(given.file.read_text()), rates))
        return 0
    figures = measure()
    figures["compared"] = compared(figures)
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(figures, indent=2) + "\n")
    print(report(figures, rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
