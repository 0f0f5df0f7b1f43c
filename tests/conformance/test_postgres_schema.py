"""Migrating PostgreSQL, and what a service says of a database that is not as it needs it."""

import itertools
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy
import structlog
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import pool

from conformance.making import accept, submission
from conformance.postgres import drop_database, server
from observatory.backends.postgres import migrate as migration
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.inspection import inspect
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


async def opened(url: str, schema: str = HEAD) -> None:
    """Use the database as a service does."""
    database = Database(url)
    try:
        await database.open()
        store = PostgresStore(database, "boot-a")
        (job_id,) = await accept(store, submission())
        assert await store.job(job_id) is not None
        assert (await store.check())["schema"] == schema
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
        "revision": "SELECT version_num, obj_description('alembic_version'::regclass) "
        "FROM alembic_version",
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
    first = migrate(url)
    before = described(url)
    again = migrate(url)

    assert first == again == HEAD
    assert described(url) == before
    await opened(url)


async def test_of_migrations_that_start_at_once_each_finds_the_work_done(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        started = [threads.submit(migrate, url) for _ in range(4)]
        assert [one.result(timeout=60) for one in started] == [HEAD] * 4

    await opened(url)


async def test_a_newer_schema_is_refused_by_services_and_by_migrate(url: str) -> None:
    migrate(url)
    set_revision(url, "9999")

    with pytest.raises(ConfigurationError, match="newer release"):
        await opened(url)
    with pytest.raises(ConfigurationError, match="newer release"):
        migrate(url)


def release(folder: Path, monkeypatch: pytest.MonkeyPatch, **revisions: str) -> None:
    """Be a newer release until the monkeypatch is undone: one with more migrations, newest last."""
    folder.mkdir()
    scripts = Path(shutil.copytree(MIGRATIONS, folder / "migrations"))
    before = HEAD
    for revision, text in revisions.items():
        number = revision.removeprefix("r")
        head = f'from alembic import op\nrevision = "{number}"\ndown_revision = "{before}"\n'
        (scripts / "versions" / f"{number}_made_here.py").write_text(head + text)
        before = number
    monkeypatch.setattr(migration, "MIGRATIONS", scripts)
    monkeypatch.setattr(migration, "HEAD", before)


ADDS: Final = f"""
oldest = "{HEAD}"

def upgrade():
    op.execute("ALTER TABLE jobs ADD COLUMN region text")
    op.execute("ALTER TABLE jobs ADD COLUMN cost bigint NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX jobs_by_region ON jobs (region)")
    op.execute("CREATE TABLE regions (name text PRIMARY KEY)")
"""
TAKES_AWAY: Final = """
def upgrade():
    op.execute("ALTER TABLE jobs DROP COLUMN cancel_reason")
"""
ADDS_LATER: Final = """
oldest = "0005"

def upgrade():
    op.execute("CREATE INDEX jobs_by_cost ON jobs (cost)")
"""


async def test_a_newer_schema_that_only_adds_is_worked_with_and_told_of(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(url)
    with monkeypatch.context() as newer:
        release(tmp_path / "newer", newer, r9001=ADDS, r9002=ADDS_LATER)
        assert migrate(url) == "9002"
        await opened(url, "9002")
    before = described(url)

    with structlog.testing.capture_logs() as logs:
        await opened(url, "9002")

    assert [(one["event"], one["schema"], one["known"]) for one in logs] == [
        ("store.newer_schema", "9002", HEAD)
    ]
    # As the Job of an old release does when it is applied again.
    assert migrate(url) == "9002"
    assert described(url) == before
    found = inspect(url).schema
    assert found is not None
    assert found.only_adds


@pytest.mark.parametrize("later", [{}, {"r9003": ADDS_LATER}], ids=["at once", "and adds later"])
async def test_a_newer_schema_that_takes_something_away_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: dict[str, str]
) -> None:
    with monkeypatch.context() as newer:
        release(tmp_path / "newer", newer, r9001=ADDS, r9002=TAKES_AWAY, **later)
        migrate(url)

    with pytest.raises(ConfigurationError, match="newer release"):
        await opened(url)
    with pytest.raises(ConfigurationError, match="newer release"):
        migrate(url)
    found = inspect(url).schema
    assert found is not None
    assert not found.only_adds


def step_of(url: str, revision: str) -> dict[str, list[tuple[str, ...]]]:
    """Bring a database to a revision, and describe it."""
    script = migration._config()  # pyright: ignore[reportPrivateUsage]
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool
    )
    with engine.begin() as connection:
        script.attributes["connection"] = connection
        command.upgrade(script, revision)
    return described(url)


def not_added(
    before: dict[str, list[tuple[str, ...]]], after: dict[str, list[tuple[str, ...]]]
) -> set[tuple[str, ...]]:
    """What an old release may not find as it was, or not be able to write past."""
    kinds = ("columns", "indexes", "constraints")
    gone = {row for kind in kinds for row in before[kind] if row not in after[kind]}
    tables = {table for table, *_ in before["columns"]}
    needed = {
        (table, *rest)
        for table, *rest in after["columns"]
        if (table, *rest) not in before["columns"] and table in tables
        if rest[-2:] == ["NO", "None"]
    }
    bound = {
        row for row in after["constraints"] if row not in before["constraints"] and row[0] in tables
    }
    return gone | needed | bound


def test_each_migration_only_adds_or_does_not_say_that_it_does(url: str) -> None:
    revisions = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())[::-1]
    before = step_of(url, revisions[0].revision)
    for one in revisions[1:]:
        after = step_of(url, one.revision)
        oldest = getattr(one.module, "oldest", one.revision)
        # Those up to 0005 were made before a migration said it; they happen to add only.
        if oldest < one.revision or one.revision <= "0005":
            assert not_added(before, after) == set(), one.revision
        before = after


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE jobs DROP COLUMN cancel_reason",
        "ALTER TABLE jobs RENAME COLUMN cancel_reason TO reason",
        "ALTER TABLE jobs ALTER COLUMN cancel_reason SET NOT NULL",
        "ALTER TABLE jobs ADD COLUMN region text NOT NULL",
        "ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(queue) < 3)",
        "DROP INDEX outbox_by_time",
    ],
)
def test_what_an_old_release_could_not_work_with_would_be_found(url: str, sql: str) -> None:
    migrate(url)
    before = described(url)
    with psycopg.connect(url) as connection:
        connection.execute(sql.encode())

    assert not_added(before, described(url))


async def test_an_older_schema_is_told_of(url: str) -> None:
    migrate(url)
    set_revision(url, "0000")

    with pytest.raises(ConfigurationError, match="observatory migrate"):
        await opened(url)


async def test_the_sql_that_is_written_out_makes_the_same_schema(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(migration_sql().encode())

    written = described(url)
    assert written["revision"] == [(HEAD, migration.remark(HEAD, HEAD))]
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
