"""PostgreSQL for the suites: one private server a session, one database a test."""

import atexit
import functools
import itertools
import shutil
from pathlib import Path
from typing import Final

import psycopg

from conformance.in_memory import new_folder
from development.postgres import PostgresServer
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.migrate import migrate
from observatory.backends.postgres.store import PostgresStore

_TEMPLATE: Final = "migrated"
_numbers: Final = itertools.count(1)


@functools.cache
def server() -> PostgresServer:
    """The server of this session; it ends with the process. Nothing on it outlives a crash."""
    folder = new_folder()
    started = PostgresServer(folder, fsync=False).start()

    def end() -> None:
        started.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    started.psql(f"CREATE DATABASE {_TEMPLATE}")
    migrate(started.url(_TEMPLATE))
    return started


def new_database(to: PostgresServer) -> str:
    """The URL of a migrated, empty database; copying it is faster than migrating another."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(to.url(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy".encode()
        )
    return to.url(name)


def drop_database(of: PostgresServer, url: str) -> None:
    """Remove a database of `new_database`."""
    name = url.rpartition("/")[2]
    with psycopg.connect(of.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


class PostgresBench:
    """The store in a database of its own."""

    store: PostgresStore

    def __init__(self, folder: Path, empty_database: Path) -> None:
        del folder, empty_database  # of SQLite
        self._ahead_us = 0
        self._url = ""
        self.database: Database | None = None

    async def open(self) -> None:
        self._url = new_database(server())
        await self._open()

    async def _open(self) -> None:
        self.database = Database(self._url, lambda: self._ahead_us)
        await self.database.open()
        self.store = PostgresStore(self.database, "boot-a")

    async def store_of(self, publisher: str) -> PostgresStore:
        assert self.database is not None
        return PostgresStore(self.database, publisher)

    async def occupy_history(self, job_id: str, version: int) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("INSERT INTO history VALUES (%s, %s, '{}')", (job_id, version))

    async def restart(self) -> None:
        assert self.database is not None
        await self.database.close()
        await self._open()

    async def advance(self, seconds: float) -> None:
        self._ahead_us += round(seconds * 1_000_000)

    async def close(self) -> None:
        if self.database is not None:
            await self.database.close()
        drop_database(server(), self._url)
