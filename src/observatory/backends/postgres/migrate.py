"""Bringing a database to the newest schema, and telling which one it has.

Services never migrate: several start at once, and their role need not be allowed to. An operator
does, with `observatory migrate`. Alembic is loaded only there.
"""

import io
from pathlib import Path
from typing import Any, Final

import psycopg

from observatory.core.errors import ConfigurationError, StoreUnavailable

HEAD: Final = "0005"
"""The newest revision; a test compares it with the migrations folder."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_LOCK: Final = 0x6F62736572766174
"""Of the advisory lock that lets one migration run at a time; "observat" in ASCII."""


def check(revision: str | None) -> None:
    """See that a database is at the schema that this release works with.

    Raises:
        ConfigurationError: it is not; the text says what to do.
    """
    if revision == HEAD:
        return
    if revision is None:
        raise ConfigurationError(
            "the database has no schema of this system yet; run `observatory migrate` once"
        )
    if revision > HEAD:
        raise ConfigurationError(
            f"the database was migrated by a newer release (schema {revision}, this one knows "
            f"{HEAD}); run that release here, too"
        )
    raise ConfigurationError(
        f"the database is at schema {revision}, this release needs {HEAD}; run "
        "`observatory migrate` once"
    )


def migrate(url: str) -> None:
    """Create the schema, or bring it to `HEAD`, in one transaction. Two at once take turns.

    Raises:
        ConfigurationError: the database was migrated by a newer release, or refuses.
        StoreUnavailable: it does not answer.
    """
    import sqlalchemy
    from alembic import command
    from sqlalchemy import exc, pool

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(
            url, prepare_threshold=None, target_session_attrs="read-write", connect_timeout=10
        ),
        poolclass=pool.NullPool,
    )
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            at = _revision(connection)
            if at is not None and at > HEAD:
                check(at)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except exc.OperationalError as error:
        raise StoreUnavailable(f"the database does not answer: {error.orig}") from error
    except exc.DBAPIError as error:
        raise ConfigurationError(f"the database cannot be migrated: {error.orig}") from error
    finally:
        engine.dispose()


def migration_sql() -> str:
    """The whole migration as SQL, for those who run it by hand."""
    from alembic import command

    written = io.StringIO()
    config = _config()
    config.output_buffer = written
    command.upgrade(config, "head", sql=True)
    return written.getvalue()


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _revision(connection: Any) -> str | None:
    if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])
