"""Folders that come with the package: in a wheel inside it, in a checkout at its root."""

from importlib.resources import files
from pathlib import Path

from observatory.interfaces.cli.output import Mistake


def shipped_folder(name: str) -> Path:
    """The packaged copy of a top-level folder of the repository, else the repository's own."""
    package = Path(str(files("observatory")))
    for folder in (package / name, package.parent.parent / name):
        if folder.is_dir():
            return folder
    raise Mistake(f"this installation has no {name}/ folder; install it again")
