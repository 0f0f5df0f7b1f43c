"""Printing to a terminal, a pipe or a program.

Rules of this file:

1. Text from elsewhere (payloads, errors, names) never reaches the terminal as control codes: they
   are shown as `\\x1b`, not obeyed.
2. Colour only on a terminal and without NO_COLOR; a pipe gets neither colour nor cut-off lines.
3. `--output json` and `yaml` print the answer of the API as it is, in ASCII, which every terminal
   and parser takes.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from observatory.core.safe_text import safe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Form = Literal["table", "json", "yaml"]

_YAML_COLUMNS: Final = 2**31
"""A long text is not broken over lines."""

_PIPE_COLUMNS: Final = 10_000
"""Width of a table in a pipe: nothing is cut off."""


class Mistake(Exception):  # noqa: N818 - the user's, not an error of the program
    """What was asked for cannot be done as it was asked; the text says what to change."""


class Clash(Exception):  # noqa: N818 - as above
    """What was asked for does not fit what is there; the text says how to ask all the same."""


def at_least_one(limit: int, option: str = "--limit") -> int:
    """The value of an option that says how many.

    Raises:
        Mistake: it is under 1.
    """
    if limit < 1:
        raise Mistake(f"{option} is a number from 1 up, not {limit}")
    return limit


def say(text: object = "") -> None:
    """Print a line or several, made safe."""
    print(safe(text, lines=True))


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """In which form a command tells what it found.

    Args:
        form: For people, which is what it is if left out, or for programs.
        as_json: The same as --output json.
    """

    form: Annotated[Form | None, Parameter(name=["--output", "-o"])] = None
    as_json: Annotated[bool, Parameter(name="--json", negative="", show_default=False)] = False

    def __post_init__(self) -> None:
        if self.as_json and self.form not in (None, "json"):
            raise Mistake(f"--json is --output json; it does not go with --output {self.form}")

    @property
    def structured(self) -> bool:
        """Whether a program reads it."""
        return self.as_json or self.form in ("json", "yaml")

    def print(self, value: Any) -> None:
        """Print a document, for people where it has no other form."""
        print(self._text(value))

    def print_line(self, value: Any) -> None:
        """Print one document of many at once: JSON on a line, YAML with a line before it."""
        if self.form == "yaml":
            print(f"---\n{self._text(value)}", flush=True)
        else:
            print(json.dumps(value, separators=(",", ":"), default=str), flush=True)

    def complain(self, value: Any) -> None:
        """Print a document to stderr."""
        print(self._text(value), file=sys.stderr)

    def _text(self, value: Any) -> str:
        text = json.dumps(value, indent=2, default=str)
        if self.form != "yaml":
            return text
        import yaml

        # From the JSON, so that YAML says the very same: what has no form in it, as text.
        plain = json.loads(text)
        return yaml.safe_dump(plain, sort_keys=False, width=_YAML_COLUMNS).removesuffix("\n")


TABLE: Final = Output()


def console() -> "Console":
    """A rich console that obeys rule 2; rich by itself would let FORCE_COLOR colour a pipe."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end the program with 1, which says that something failed."""
            raise BrokenPipeError

    if sys.stdout.isatty():
        # Without colour rich would still print codes for bold.
        colors = None if os.environ.get("NO_COLOR") else "auto"
        return Plain(highlight=False, markup=False, emoji=False, color_system=colors)
    return Plain(
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=False,
        color_system=None,
        width=_PIPE_COLUMNS,
    )


STATE_STYLES: Final = {
    "scheduled": "cyan",
    "queued": "blue",
    "running": "yellow",
    "retrying": "magenta",
    "completed": "green",
    "failed": "red",
    "cancelled": "bright_black",
    "PASS": "green",
    "WARN": "yellow",
    "FAIL": "red",
}


_GAP: Final = 2
"""Between two columns."""

_LEAST_COLUMNS: Final = 14
"""Of a text that gives way; cut shorter it says nothing."""


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    gives_way: str | None = None,
    spare: Sequence[str] = (),
) -> None:
    """Print aligned columns.

    Args:
        headings: of the columns. The first names what a row is of and is never broken or cut, so
            that it can be copied.
        rows: the cells.
        numbers: columns that stand to the right.
        gives_way: the column that is cut where a terminal is too narrow; the others then stay as
            they are.
        spare: columns that are left out there, one after another, and named on stderr.
    """
    there = console()
    if not there.is_terminal:
        print_drawn(there, table_of(headings, rows, numbers=numbers))
        return
    cells = [[safe("-" if cell is None else cell) for cell in row] for row in rows]
    kept = fitting(headings, cells, there.width, gives_way=gives_way, spare=spare)
    table = table_of(
        [headings[place] for place in kept],
        [[row[place] for place in kept] for row in cells],
        numbers=numbers,
        gives_way=gives_way,
        columns=there.width,
    )
    # A line that is too long all the same is broken by the terminal, where it can be copied whole.
    print_drawn(there, table)
    if len(kept) < len(headings):
        names = ", ".join(name for place, name in enumerate(headings) if place not in kept)
        sys.stdout.flush()
        print(f"too narrow for {names}; -o json has all", file=sys.stderr)


def print_drawn(there: "Console", drawn: "RenderableType") -> None:
    """Print a table, or several, to a pipe without what fills its lines up, and never cut."""
    if there.is_terminal:
        there.print(drawn, crop=False)
        return
    with there.capture() as printed:
        there.print(drawn)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def fitting(
    headings: Sequence[str],
    cells: Sequence[Sequence[str]],
    columns: int,
    *,
    gives_way: str | None = None,
    spare: Sequence[str] = (),
) -> list[int]:
    """The places of the columns for which a terminal has room, the spare ones left out in turn."""
    widths = _widths(headings, cells)
    if gives_way in headings:
        place = headings.index(gives_way)
        widths[place] = min(widths[place], _LEAST_COLUMNS)
    kept = list(range(len(headings)))
    for name in spare:
        if sum(widths[place] + _GAP for place in kept) - _GAP <= columns:
            break
        kept.remove(headings.index(name))
    return kept


def _widths(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    rows = [headings, *cells]
    return [max(cell_len(row[place]) for row in rows) for place in range(len(headings))]


def table_of(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    gives_way: str | None = None,
    columns: int | None = None,
) -> "Table":
    """Aligned columns, for a console; see `print_table`. `columns` is the width of a terminal."""
    from rich.table import Table
    from rich.text import Text

    cells = [[safe("-" if cell is None else cell) for cell in row] for row in rows]
    widths = _widths(headings, cells)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        whole = place == 0 or heading in numbers or gives_way is not None
        most = None
        if heading == gives_way and columns is not None:
            most = max(_LEAST_COLUMNS, columns - sum(widths) + widths[place] - _GAP * len(widths))
        table.add_column(
            heading,
            justify="right" if heading in numbers else "left",
            overflow="fold" if most is None else "ellipsis",
            no_wrap=whole,
            min_width=widths[place] if whole and most is None else None,
            max_width=most,
        )
    for row in cells:
        table.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    return table


def jobs_of(count: int) -> str:
    """So many jobs, in words."""
    return f"{count:,} {'job' if count == 1 else 'jobs'}"


def attempt_of(attempt: int, allowed: int) -> str:
    """How far a job's attempts have come. After a retry, or where workers were lost, they may
    outnumber those that one try is allowed, and then the two are no fraction."""
    if attempt <= allowed:
        return f"{attempt} of {allowed}"
    return f"{attempt} (limit: {allowed} failed {'attempt' if allowed == 1 else 'attempts'})"


def attempt_in_column(attempt: int, allowed: int) -> str:
    """As `attempt_of`, in a narrow column."""
    return f"{attempt}/{allowed}" if attempt <= allowed else str(attempt)


def seconds(value: float | None) -> str:
    """A duration in the unit a reader would choose, to three digits: more say nothing, and flicker
    where they are drawn again and again."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1000:.{1 if value < 0.09995 else 0}f} ms"
    if value < 119.95:
        return f"{value:.{2 if value < 9.995 else 1}f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def taken(answer: Mapping[str, Any]) -> str:
    """Over which time numbers were taken from the event log, when, and how far they are behind."""
    over = f"over {answer['windowSeconds']} s"
    if "rateWindowSeconds" in answer:
        over = f"rates over {answer['rateWindowSeconds']} s, times {over}"
    return f"{over}, as of {answer['asOf']}, {behind(answer)}"


def behind(answer: Mapping[str, Any]) -> str:
    """How far numbers are behind the event log, and whether some are missing."""
    lag = seconds(answer["lagSeconds"])
    if answer["rebuilding"]:
        return f"{lag} behind the log; REBUILDING, not complete yet"
    if answer["complete"]:
        return f"{lag} behind the log"
    return f"{lag} or more behind the log, which does not answer"


def ran(attempt: Mapping[str, Any]) -> str:
    """How long an attempt ran; in brackets after how long it was noticed that it was lost, for when
    such a run ended nobody knows."""
    told = seconds(attempt["runSeconds"])
    return f"({told})" if attempt["outcome"] == "lost" else told


def rate(per_second: float | None) -> str:
    """A rate, never 0 for what is not."""
    if per_second is None:
        return "-"
    if 0 < per_second < 0.1:
        return f"{per_second:.2g}"
    return f"{per_second:,.1f}" if per_second else "0"


def standing(worker: dict[str, Any]) -> str:
    """What a worker does, in the page's words: idle, busy or full while it is active."""
    if worker["rescued"]:
        return "rescued"
    if worker["state"] != "active":
        return str(worker["state"])
    if not worker["running"]:
        return "idle"
    return "full" if worker["running"] >= worker["concurrency"] else "busy"


def clock(when: datetime | None) -> str:
    """A time as it is kept: UTC, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if when else "-"


def first_line(text: str, *, limit: int = 100) -> str:
    """The first line, shortened."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= limit else line[: limit - 1] + "…"
