"""`observatory migrate`: the schema of the PostgreSQL store."""

import math
import signal
import sys
import time
from collections.abc import Callable
from typing import Annotated, Final

from cyclopts import Parameter

from observatory.interfaces.cli.exit_codes import ExitCode
from observatory.interfaces.cli.output import TABLE, Mistake, Output, say
from observatory.interfaces.cli.progress import waiting
from observatory.interfaces.cli.serving import read_settings, without_secrets

_TRY_AGAIN_S: Final = 1.0


def migrate(
    *,
    sql: Annotated[bool, Parameter(negative="")] = False,
    wait: float = 0.0,
    output: Output = TABLE,
) -> int:
    """Create the schema of the PostgreSQL store, or bring it to this release's.

    It is safe to repeat.

    For example:
      OBSERVATORY_STORE_URL=postgresql://… observatory migrate
      observatory migrate --sql > schema.sql

    Args:
        sql: Print the SQL of the whole migration, for those who run it by hand; change nothing.
        wait: Seconds to go on trying for while PostgreSQL cannot be connected to.
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
    if not 0 <= wait < math.inf:
        raise Mistake(f"--wait is a number of seconds, not {wait:g}")
    schema = _once_it_answers(lambda: migrate_store(url), wait)
    where = without_secrets(url)
    if output.structured:
        output.print({"store": where, "schema": schema})
    else:
        say(f"{where} is at schema {schema}")
    return ExitCode.OK


def _once_it_answers(migrated: Callable[[], str], wait_s: float) -> str:
    """What a migration returns; it is tried again until the time is up. Raises as it does."""
    from observatory.core.errors import StoreUnavailable

    deadline = time.monotonic() + wait_s
    told = ""
    if wait_s:
        # The first process of a container is ended by no signal that it does not handle.
        signal.signal(signal.SIGTERM, _end)
    with waiting("migrating"):
        while True:
            try:
                return migrated()
            except StoreUnavailable as error:
                if time.monotonic() + _TRY_AGAIN_S > deadline:
                    raise
                if told != (told := " ".join(str(error).split())):
                    print(f"observatory: {told}; trying again", file=sys.stderr, flush=True)
            time.sleep(_TRY_AGAIN_S)


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)
