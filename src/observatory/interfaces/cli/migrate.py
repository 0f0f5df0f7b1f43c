"""`observatory migrate`: the schema of the PostgreSQL store."""

from typing import Annotated

from cyclopts import Parameter

from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Mistake, Output, say
from observatory.interfaces.cli.serving import read_settings, without_secrets


def migrate(
    *,
    sql: Annotated[bool, Parameter(negative="")] = False,
    output: Output = TABLE,
) -> int:
    """Create the schema of the PostgreSQL store, or bring it to this release's.

    It is safe to repeat.

    For example:
      OBSERVATORY_STORE_URL=postgresql://… observatory migrate
      observatory migrate --sql > schema.sql

    Args:
        sql: Print the SQL of the whole migration, for those who run it by hand; change nothing.
    """
    from observatory.assembly.migration import migrate_store, migration_sql

    if sql:
        print(migration_sql(), end="")
        return ExitCode.OK
    settings = read_settings()
    url = settings.store_url.get_secret_value()
    if not url:
        raise Mistake(
            "set OBSERVATORY_STORE_URL to postgresql://…; the embedded store is a file, and who "
            "opens it brings it to the newest schema"
        )
    schema = migrate_store(url)
    where = without_secrets(url)
    if output.structured:
        output.print({"store": where, "schema": schema})
    else:
        say(f"{where} is at schema {schema}")
    return ExitCode.OK
