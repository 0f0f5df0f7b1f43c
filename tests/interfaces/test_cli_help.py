"""`--help` of every command, as it stands on a terminal of 80 columns."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from cyclopts import App
from rich.console import Console

from observatory.interfaces.cli.main import COMMANDS, application

BOX = "│╭╰"


def every(names: tuple[str, ...], of: App) -> Iterator[tuple[str, ...]]:
    yield names
    for name in of:
        if not name.startswith("-"):
            yield from every((*names, name), of[name])


CALLS = [
    names
    for command in COMMANDS
    for names in every((command.name,), application()[command.name])
]  # fmt: skip


def told(names: tuple[str, ...], columns: int) -> list[str]:
    printed = io.StringIO()
    application().help_print([*names], console=Console(file=printed, width=columns))
    return [line.rstrip() for line in printed.getvalue().splitlines()]


@pytest.mark.parametrize("names", CALLS, ids=" ".join)
def test_no_line_is_broken_but_where_it_was_meant_to_be(names: tuple[str, ...]) -> None:
    wide = told(names, 1000)
    assert [line for line in wide if line[:1] not in BOX and len(line) > 80] == []
    begun = [line for line in wide if line.startswith("│")]
    assert [line.strip("│ ") for line in begun if line.startswith("│      ")] == [], (
        "an option's text is broken by hand, and would be broken again by the terminal"
    )
    assert max(map(len, told(names, 80))) <= 80
