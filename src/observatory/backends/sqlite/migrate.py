"""Bringing a database file to the newest schema.

A new file is given the newest schema at once. Only an old one needs alembic, whose import alone
takes as long as all else that `up` does before it is ready.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from observatory.core.errors import ConfigurationError

HEAD: Final = "0005"
"""The newest revision; a test compares it with the migrations folder."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

SCHEMA: Final = MIGRATIONS / "schema.sql"
"""All the migrations in one; `scripts/write_sqlite_schema.py` writes it, a test compares it."""


def revision(path: Path) -> str | None:
    """The revision a database file is at; None for a new one."""
    if not path.exists():
        return None
    connection = sqlite3.connect(path)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(f"{path} is not a database of this system: {error}") from error
    finally:
        connection.close()
    return None if row is None else str(row[0])


def migrate(path: Path) -> None:
    """Create the schema, or bring it to `HEAD`: all of it, or nothing.

    Raises:
        ConfigurationError: the file was written by a newer release, is no database, or cannot be
            written.
    """
    at = revision(path)
    if at == HEAD:
        return
    if at is not None and at > HEAD:
        raise ConfigurationError(
            f"{path} was written by a newer release (schema {at}, this one knows {HEAD})"
        )
    try:
        if at is None:
            _create(path)
        else:
            upgrade(path, "head")
    except (sqlite3.Error, OSError) as error:
        raise ConfigurationError(
            f"{path} cannot be brought to schema {HEAD}: {error}; it is as it was"
        ) from error


def _create(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"BEGIN IMMEDIATE;\n{SCHEMA.read_text()}\nCOMMIT;")


def upgrade(path: Path, to: str) -> None:
    """Run the migrations that lead from the revision of a file, or from nothing, to another.

    Raises:
        sqlite3.Error, OSError: one of them failed, and the file is as it was.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    try:
        command.upgrade(config, to)
    except DBAPIError as error:
        raise sqlite3.DatabaseError(str(error.orig)) from error
