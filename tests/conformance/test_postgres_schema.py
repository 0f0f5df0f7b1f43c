"""Migrating PostgreSQL, and what a service says of a database that is not as it needs it."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import psycopg
import pytest
from alembic.script import ScriptDirectory

from conformance.making import accept, submission
from conformance.postgres import drop_database, server
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.migrate import HEAD, MIGRATIONS, migrate, migration_sql
from observatory.backends.postgres.store import PostgresStore
from observatory.core.errors import ConfigurationError, StoreUnavailable

pytestmark = pytest.mark.anyio

_numbers: Final = itertools.count(1)


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    name = f"empty_{next(_numbers)}"
    server().psql(f"CREATE DATABASE {name}")
    url = server().url(name)
    yield url
    drop_database(server(), url)


async def opened(url: str) -> None:
    """Use the database as a service does."""
    database = Database(url)
    try:
        await database.open()
        store = PostgresStore(database, "boot-a")
        (job_id,) = await accept(store, submission())
        assert await store.job(job_id) is not None
        assert (await store.check())["schema"] == HEAD
    finally:
        await database.close()


def described(url: str) -> dict[str, list[tuple[str, ...]]]:
    """The columns, indexes and constraints of a database."""
    questions = {
        "columns": "SELECT table_name, column_name, data_type, collation_name, is_nullable, "
        "column_default FROM information_schema.columns WHERE table_schema = 'public'",
        "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "revision": "SELECT version_num FROM alembic_version",
    }
    with psycopg.connect(url) as connection:
        return {
            what: sorted(tuple(map(str, row)) for row in connection.execute(query.encode()))
            for what, query in questions.items()
        }


def set_revision(url: str, revision: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))


def test_the_newest_revision_is_the_one_that_is_named() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]


async def test_a_database_that_was_never_migrated_is_told_of(url: str) -> None:
    with pytest.raises(ConfigurationError, match="observatory migrate"):
        await opened(url)


async def test_a_migrated_database_serves_and_migrating_again_changes_nothing(url: str) -> None:
    migrate(url)
    migrate(url)

    await opened(url)


async def test_of_migrations_that_start_at_once_each_finds_the_work_done(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(migrate, url) for _ in range(4)]:
            done.result(timeout=60)

    await opened(url)


async def test_a_newer_schema_is_refused_by_services_and_by_migrate(url: str) -> None:
    migrate(url)
    set_revision(url, "9999")

    with pytest.raises(ConfigurationError, match="newer release"):
        await opened(url)
    with pytest.raises(ConfigurationError, match="newer release"):
        migrate(url)


async def test_an_older_schema_is_told_of(url: str) -> None:
    migrate(url)
    set_revision(url, "0000")

    with pytest.raises(ConfigurationError, match="observatory migrate"):
        await opened(url)


async def test_the_sql_that_is_written_out_makes_the_same_schema(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(migration_sql().encode())

    written = described(url)
    assert written["revision"] == [(HEAD,)]
    await opened(url)
    migrate(url)
    assert described(url) == written
    other = f"{url.rpartition('/')[0]}/by_alembic"
    server().psql("CREATE DATABASE by_alembic")
    try:
        migrate(other)
        assert described(other) == written
    finally:
        drop_database(server(), other)


async def test_a_server_that_does_not_answer_is_no_fault_of_the_schema() -> None:
    database = Database("postgresql://postgres@127.0.0.1:1/nothing")
    try:
        with pytest.raises(StoreUnavailable):
            await database.open()
    finally:
        await database.close()
    with pytest.raises(StoreUnavailable):
        migrate("postgresql://postgres@127.0.0.1:1/nothing")


async def test_the_view_of_attempts_tells_each_run(url: str) -> None:
    from conformance.making import completed, failed

    migrate(url)
    database = Database(url)
    store = PostgresStore(database, "boot-a")
    went_well, broke = await completed(store), await failed(store)
    await database.close()

    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT job_id::text, attempt, worker, outcome, finished_at >= started_at FROM attempts"
        ).fetchall()

    worker = "alpha.example:101:boot-a"
    assert sorted(rows) == sorted(
        [(went_well, 1, worker, "completed", True), (broke, 1, worker, "not_retryable", True)]
    )
