"""What a PostgreSQL server is like, for whoever sets the system up."""

import time
from typing import LiteralString, NamedTuple

import psycopg
from psycopg.rows import TupleRow

from observatory.backends.postgres.migrate import SCHEMA, Schema, told
from observatory.core.errors import StoreUnavailable

_TIMEOUT_S = 5


class Server(NamedTuple):
    """A server and its database, as a client sees them."""

    version: str
    major: int
    schema: Schema | None
    """What its tables are like; None where they were never made."""
    writable: bool
    ahead_s: float
    """Its clock less that of this machine, in seconds; off by no more than `round_trip_s`."""
    round_trip_s: float


def inspect(url: str) -> Server:
    """Look at a server, and change nothing.

    Raises:
        StoreUnavailable: it does not answer, or does not let us in.
    """
    try:
        with psycopg.connect(
            url, autocommit=True, connect_timeout=_TIMEOUT_S, prepare_threshold=None
        ) as connection:
            before = time.time()
            (now,) = _row(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
            after = time.time()
            (read_only,) = _row(connection, "SELECT pg_is_in_recovery()")
            (table,) = _row(connection, "SELECT to_regclass('alembic_version')::text")
            schema = None
            if table is not None:
                found = connection.execute(SCHEMA).fetchone()
                schema = told(*found) if found else None
            version = connection.info.server_version
    except psycopg.Error as error:
        raise StoreUnavailable(f"the database does not answer: {_line(error)}") from error
    return Server(
        version=f"{version // 10_000}.{version % 10_000}",
        major=version // 10_000,
        schema=schema,
        writable=not read_only,
        ahead_s=now - (before + after) / 2,
        round_trip_s=after - before,
    )


def _row(connection: psycopg.Connection[TupleRow], query: LiteralString) -> TupleRow:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
