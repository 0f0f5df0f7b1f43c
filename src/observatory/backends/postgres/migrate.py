"""Bringing a database to the newest schema, and telling which one it has.

Services never migrate: several start at once, and their role need not be allowed to. An operator
does, with `observatory migrate`. Alembic is loaded only there.
"""

import io
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from observatory.core.errors import ConfigurationError, StoreUnavailable

HEAD: Final = "0005"
"""The newest revision; a test compares it with the migrations folder."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

SCHEMA: Final = (
    b"SELECT version_num, obj_description('alembic_version'::regclass, 'pg_class') "
    b"FROM alembic_version"
)
"""Asks for what `told` takes, where alembic's table is there."""

_LOCK: Final = 0x6F62736572766174
"""Of the advisory lock that lets one migration run at a time; "observat" in ASCII."""


class Schema(NamedTuple):
    """What the tables of a database are like, as the release that migrated them has left word."""

    revision: str
    oldest: str | None
    """The schema of the oldest release that works with these tables; None where none is told."""

    @property
    def only_adds(self) -> bool:
        """Whether it is newer than this release, and leaves all that this release uses."""
        return self.revision > HEAD and self.oldest is not None and self.oldest <= HEAD


def remark(revision: str, oldest: str) -> str:
    """What a migration leaves word with, as the comment of alembic's table: it is read by releases
    that do not have the migration."""
    return f"schema {revision}: the oldest release that works with it is of schema {oldest}"


def told(revision: str, comment: str | None) -> Schema:
    """A schema as it is read from alembic's table and the comment on it."""
    found = re.fullmatch(remark(re.escape(revision), r"(\w+)"), comment or "")
    return Schema(revision, found and found[1])


def check(schema: Schema | None) -> None:
    """See that a database is at a schema that this release works with.

    Raises:
        ConfigurationError: it is not; the text says what to do.
    """
    if schema is None:
        raise ConfigurationError(
            "the database has no schema of this system yet; run `observatory migrate` once"
        )
    if schema.revision == HEAD or schema.only_adds:
        return
    if schema.revision > HEAD:
        raise ConfigurationError(
            f"the database was migrated by a newer release (schema {schema.revision}, this one "
            f"knows {HEAD}) to what this one does not work with; run that release here, too"
        )
    raise ConfigurationError(
        f"the database is at schema {schema.revision}, this release needs {HEAD}; run "
        "`observatory migrate` once"
    )


def migrate(url: str) -> str:
    """Create the schema, or bring it to `HEAD`, in one transaction, and return its revision. Two
    at once take turns. One that is newer and only adds to it is left as it is.

    Raises:
        ConfigurationError: a newer release made it what this one does not work with, or the
            database refuses.
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
            at = _schema(connection)
            if at is not None and at.revision > HEAD:
                check(at)
                return at.revision
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return HEAD
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


def _schema(connection: Any) -> Schema | None:
    if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
        return None
    row = connection.exec_driver_sql(SCHEMA.decode()).first()
    return None if row is None else told(*row)
