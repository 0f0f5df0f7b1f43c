"""How the terminal says things: states, ages, text from elsewhere."""

import os
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from observatory.core.safe_text import safe

GLYPHS: Final = {
    "scheduled": ("◷", "magenta"),
    "queued": ("◔", "cyan"),
    "running": ("▶", "blue"),
    "retrying": ("↻", "yellow"),
    "completed": ("✔", "green"),
    "failed": ("✖", "red"),
    "cancelled": ("⊘", "bright_black"),
}
"""Shape and colour of each state; the word always stands beside them."""

_PLAIN: Final = {
    "scheduled": "z", "queued": ".", "running": ">", "retrying": "~",
    "completed": "+", "failed": "!", "cancelled": "x",
}  # fmt: skip


def plain_glyphs() -> bool:
    """Whether this terminal should be given ASCII only."""
    encoding = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG", "")
    return "utf" not in encoding.lower()


def state_text(state: str) -> Text:
    """A state as shape, colour and word."""
    glyph, colour = GLYPHS.get(state, ("?", "white"))
    shape = _PLAIN.get(state, "?") if plain_glyphs() else glyph
    return Text(f"{shape} {state}", style=colour)


def line(text: object, limit: int = 200) -> Text:
    """Text from elsewhere on one line, never as markup and never as control codes."""
    shown = safe(str(text).replace("\n", "↵"))
    return Text(shown if len(shown) <= limit else shown[: limit - 1] + "…", no_wrap=True)


def lines(text: object) -> Text:
    """Text from elsewhere with its line breaks."""
    return Text(safe(text, lines=True))


def in_lines(words: list[Text], width: int) -> Text:
    """Words side by side, in as many lines as a width of so many cells takes; none is broken."""
    shown = Text()
    used = 0
    for word in words:
        between = "" if not used else "  "
        if used and used + len(between) + word.cell_len > width:
            between, used = "\n", 0
        shown.append(between).append_text(word)
        used += len(between.strip("\n")) + word.cell_len
    return shown


def age(then: str | None, now: datetime) -> str:
    """How long ago, in the largest unit."""
    if then is None:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(then)).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def span(seconds: float) -> str:
    """A length of time that is a round one."""
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def number(value: Any) -> str:
    """A count with its thousands apart; a dash for what is not known."""
    return "-" if value is None else f"{value:,}"
