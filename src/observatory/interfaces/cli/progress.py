"""How far a long command has come, told to whoever looks."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@contextmanager
def progress(what: str, total: int | None) -> "Generator[Callable[[int], None]]":
    """A bar on stderr, which the function that is yielded moves on by so many; none where stderr
    is no terminal.

    Args:
        what: is counted, in one word.
        total: how many there are; None where nobody knows.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # Of an unknown number no part can be drawn: the bar would stand there as a full one.
    known = (BarColumn(), MofNCompleteColumn())
    so_far = (TextColumn("{task.completed:,.0f}"),) if total is None else known
    columns = (TextColumn(what), *so_far, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def waiting(what: str) -> "Generator[None]":
    """A line on stderr that says what is waited for and how long already; none where stderr is no
    terminal. It is gone when it is over."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # A spinner of ASCII, as not every terminal has the others.
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as line:
        line.add_task(what, total=None)
        yield
