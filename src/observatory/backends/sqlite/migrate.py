"""Bringing a database file to the newest schema.

Alembic is loaded only where there is something to do: it costs a quarter of a second, and `up`
must be ready within two.
"""

import sqlite3
from pathlib import Path
from typing import Final

from observatory.core.errors import ConfigurationError

HEAD: Final = "0005"
"""The newest revision; a test compares it with the migrations folder."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


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
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    try:
        command.upgrade(config, "head")
    except (DBAPIError, sqlite3.Error, OSError) as error:
        told = error.orig if isinstance(error, DBAPIError) else error
        raise ConfigurationError(
            f"{path} cannot be brought to schema {HEAD}: {told}; it is as it was"
        ) from error
