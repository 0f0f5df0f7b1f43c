"""What the embedded system's file is like, for whoever sets the system up."""

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote


class File(NamedTuple):
    """The file, as a reader sees it."""

    schema: str | None
    """The revision that its tables are at; None where it is no file of this system."""
    tables: int
    """Tables and indexes."""
    size_bytes: int


def inspect(path: Path) -> File:
    """Look at the file, and change nothing.

    Raises:
        sqlite3.Error: it is no database, or cannot be read.
    """
    # Read only: a second connection that may write is what the WAL-reset bug needs.
    where = f"file:{quote(str(path.absolute()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(where, uri=True)) as file:
        tables = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        try:
            row = file.execute("SELECT max(version_num) FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            row = (None,)
    return File(row[0], tables, path.stat().st_size)
