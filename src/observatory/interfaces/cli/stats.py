"""`observatory stats`: counts, rates and percentiles."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from observatory.interfaces.cli.address import Address
from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import (
    TABLE,
    Mistake,
    Output,
    at_least_one,
    console,
    fitting,
    print_drawn,
    rate,
    safe,
    seconds,
    table_of,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Group, RenderableType
    from rich.table import Table

    from observatory.client import Client


def stats(
    *,
    window: int = 900,
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="")] = False,
    every: float | None = None,
    times: int | None = None,
    address: Address | None = None,
    output: Output = TABLE,
) -> int:
    """Print exact counts by state, and rates and percentiles by queue and job type.

    With --watch they are drawn again in place every two seconds, until Ctrl-C; in a
    pipe they are printed one after another, with --json an object a line.

    For example:
      observatory stats
      observatory stats --window 60 --json
      observatory stats --watch

    Args:
        window: Seconds over which rates and percentiles are taken, 60 to 86400.
        watch: Go on.
        every: With --watch, seconds from one look to the next, from 0.1 to 3600; 2 if left out.
        times: With --watch, end after so many looks.
    """
    if not watch and (every is not None or times is not None):
        raise Mistake("--every and --times say how to watch and go with --watch")
    if every is not None and not 0.1 <= every <= 3600:
        raise Mistake(f"--every is a number of seconds from 0.1 to 3600, not {every:g}")
    looks = None if times is None else at_least_one(times, "--times")
    with (address or Address()).client() as client:
        answer = client.stats(window=window)
        if watch:
            looked = _looks(client, answer, window, 2.0 if every is None else every, looks)
            with _screen(output=output) as show:
                for one in looked:
                    show(one)
        elif output.structured:
            output.print(answer)
        else:
            there = console()
            print_drawn(there, shown(answer, there.width))
    return ExitCode.OK


def _looks(
    client: "Client", first: dict[str, Any], window: int, every_s: float, looks: int | None
) -> Iterator[dict[str, Any]]:
    """Look after look. An outage is told, and looks go on when it has ended."""
    from observatory.client import Unavailable, Unreachable

    yield first
    due, told = time.monotonic(), False
    while looks is None or (looks := looks - 1) > 0:
        # Not a pause between looks: slow answers would draw them apart.
        due = max(due + every_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            yield client.stats(window=window)
            told = False
        except (Unreachable, Unavailable) as error:
            if not told:
                print(f"observatory: {safe(error)} Trying again …", file=sys.stderr, flush=True)
            told = True


@contextmanager
def _screen(*, output: Output) -> "Generator[Callable[[dict[str, Any]], None]]":
    """What shows a look: in the place of the last one on a terminal, else after it."""
    if output.structured:
        yield output.print_line
        return
    there = console()
    if not there.is_terminal:

        def print_after(answer: dict[str, Any]) -> None:
            print_drawn(there, shown(answer))
            print()
            sys.stdout.flush()

        yield print_after
        return
    from rich.live import Live

    with Live(console=there, auto_refresh=False) as live:
        # Asked for its size each time: a window may be drawn larger.
        yield lambda answer: live.update(shown(answer, there.width, there.height), refresh=True)


_AROUND: Final = 5
"""Lines of what stands behind the tables, and of the line on which the cursor waits."""

_ABOVE: Final = 2
"""Lines of a table of groups besides its groups."""


def shown(answer: dict[str, Any], columns: int | None = None, lines: int | None = None) -> "Group":
    """The numbers as they are drawn, on a screen of so many columns and lines."""
    from rich.console import Group
    from rich.text import Text

    states = answer["states"]
    parts: list[RenderableType] = [table_of(("STATE", "JOBS"), states.items(), numbers=("JOBS",))]
    tables = [("QUEUE", answer["queues"]), ("TYPE", answer["types"])]
    tables = [(name, groups) for name, groups in tables if groups]
    room = None if lines is None else lines - len(states) - 1 - _AROUND - _ABOVE * len(tables)
    for left, (name, groups) in zip(range(len(tables), 0, -1), tables, strict=True):
        # A table that needs less than its part leaves the rest to the next.
        part = len(groups) if room is None else max(1, room // left)
        rows, out = _rows(groups, part)
        room = None if room is None else room - len(rows) - bool(out)
        parts += ["", _table_of_groups(name, rows, columns)]
        if out:
            parts.append(Text(f"and {out} more; observatory stats tells all"))
    text = f"\n{taken(answer)}\ncounts are exact, percentiles estimated (off by less than 25 %)"
    return Group(*parts, Text(safe(text, lines=True)))


def _rows(groups: dict[str, Any], room: int) -> tuple[list[tuple[str, ...]], int]:
    """The groups for whose lines there is room, those first that somebody would look for; and how
    many are left out."""
    names = sorted(groups)
    if len(names) > room:
        names = sorted(names, key=lambda name: _urgency(groups[name]), reverse=True)
        names = names[: max(1, room - 1)]
    rows = [
        (
            name,
            str(_waiting(groups[name])),
            str(groups[name]["states"]["running"]),
            str(groups[name]["states"]["failed"]),
            rate(groups[name]["finishedPerSecond"]),
            *_percentiles(groups[name]["waitSeconds"]),
            *_percentiles(groups[name]["runSeconds"]),
        )
        for name in names
    ]
    return rows, len(groups) - len(names)


def _waiting(group: dict[str, Any]) -> int:
    return sum(group["states"][state] for state in ("scheduled", "queued", "retrying"))


def _urgency(group: dict[str, Any]) -> tuple[float, ...]:
    states = group["states"]
    return (states["running"] + _waiting(group), group["finishedPerSecond"], states["failed"])


def _table_of_groups(name: str, rows: list[tuple[str, ...]], columns: int | None) -> "Table":
    headings = (
        name,
        "WAITING",
        "RUNNING",
        "FAILED",
        "OUT/S",
        "WAIT P50",
        "P95",
        "RUN P50",
        "P95 ",
    )
    if columns is not None:
        # Numbers that are cut are wrong ones; half of a spread is none.
        kept = fitting(headings, rows, columns, spare=("P95 ", "RUN P50", "P95", "WAIT P50"))
        headings = tuple(headings[place] for place in kept)
        rows = [tuple(row[place] for place in kept) for row in rows]
    return table_of(headings, rows, numbers=headings[1:])


def _percentiles(spread: dict[str, float] | None) -> tuple[str, str]:
    return (seconds(spread["p50"]), seconds(spread["p95"])) if spread else ("-", "-")
