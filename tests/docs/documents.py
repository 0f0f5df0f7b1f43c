"""The documents as the tests read them: their text, their links and their marked blocks.

A fenced block is marked by a comment on the line before it: `<!-- file: NAME -->` for a file that
the reader is to write, `<!-- serve -->` for the command that serves it, `<!-- run -->` for what is
to be run while it is served. `<!-- reload -->` is for what an operator runs within the container of the
edge.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_FOLDERS_LEFT_OUT = {".venv", "node_modules", ".git", ".pytest_cache", "dist"}

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[a-z]+)(?:: (?P<name>\S+))? -->\n)?"
    r"(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block, where it stands, and what it is for."""

    where: str
    language: str
    text: str
    mark: str | None
    name: str | None


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted(
        path
        for path in ROOT.rglob("*.md")
        if not _FOLDERS_LEFT_OUT & set(path.relative_to(ROOT).parts)
    )


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = path.read_text()
    return [
        Block(
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start('language')) + 1}",
            found["language"],
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            found["mark"],
            found["name"],
        )
        for found in _BLOCK.finditer(text)
    ]


def links(path: Path) -> list[str]:
    """Where a document's links lead to, those in fenced blocks left out."""
    return _LINK.findall(_BLOCK.sub("", path.read_text()))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = _HEADING.findall(_BLOCK.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
