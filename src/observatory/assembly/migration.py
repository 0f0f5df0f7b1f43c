"""The schema of a shared store, brought to this release's by an operator."""

from observatory.assembly.backends import require_scheme
from observatory.backends.postgres import migrate


def migrate_store(url: str) -> str:
    """Create the schema of the store, or bring it to this release's, and return its revision.

    Raises:
        ConfigurationError: the URL is none of PostgreSQL, a newer release made it what this one
            does not work with, or the database refuses.
        StoreUnavailable: it does not answer.
    """
    require_scheme("OBSERVATORY_STORE_URL", url, "postgresql", "postgres")
    return migrate.migrate(url)


def migration_sql() -> str:
    """The whole migration as SQL."""
    return migrate.migration_sql()
