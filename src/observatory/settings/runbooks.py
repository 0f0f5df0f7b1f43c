"""Where the runbooks lie: inside the installed package, or in a checkout's own ``docs/``."""

from functools import cache
from importlib.resources import files
from pathlib import Path

import observatory

_ENDING = ".md"


def text(name: str) -> str | None:
    """A runbook, in Markdown; None where there is none of that name."""
    return _all().get(name)


def names() -> list[str]:
    """The alerts that have a runbook."""
    return sorted(_all())


@cache
def _all() -> dict[str, str]:
    packaged = Path(str(files(observatory) / "runbooks"))
    beside = Path(str(observatory.__file__)).parents[2] / "docs" / "runbooks"
    for folder in (packaged, beside):
        if folder.is_dir():
            found = sorted(folder.glob(f"*{_ENDING}"))
            return {file.stem: file.read_text(encoding="utf-8") for file in found}
    return {}
