"""The store behind a pooler in transaction mode, which gives each transaction any connection."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from conformance import postgres
from conformance.making import WORKER, ended, running
from development.pgbouncer import PgbouncerServer
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.store import PostgresStore
from observatory.core.lifecycle import State
from observatory.core.store import JobFilter

pytestmark = pytest.mark.anyio

PROCESSES = 3
ROUNDS = 12
"""So often is each statement run: a driver that prepares what it repeats would have done so."""


@pytest.fixture(scope="module")
def pooler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgbouncerServer]:
    # Fewer connections to the server than clients, so that they take turns on them.
    folder = tmp_path_factory.mktemp("pgbouncer")
    with PgbouncerServer(folder, postgres.server(), connections=2) as server:
        yield server


@pytest.fixture
def direct() -> Iterator[str]:
    url = postgres.new_database(postgres.server())
    yield url
    postgres.drop_database(postgres.server(), url)


@pytest.fixture
async def stores(pooler: PgbouncerServer, direct: str) -> AsyncIterator[list[PostgresStore]]:
    """What several processes have of one database, behind the pooler."""
    url = pooler.url(direct.rpartition("/")[2])
    databases = [Database(url) for _ in range(PROCESSES)]
    yield [PostgresStore(database, f"boot-{n}") for n, database in enumerate(databases)]
    for database in databases:
        await database.close()


async def work(store: PostgresStore) -> None:
    for _ in range(ROUNDS):
        job = await running(store)
        recorded, _ = await store.finish([ended(job)], WORKER)
        assert recorded == [True]
        await asyncio.to_thread(store.heartbeat, WORKER, 0, "active")
        found = await store.job(job)
        assert found is not None
        assert found.state is State.COMPLETED


async def prepared(database: Database) -> set[str]:
    """The statements that stay on the connection that writes."""
    left = b"SELECT statement FROM pg_prepared_statements"
    return {text for (text,) in await database.write(lambda db: db.execute(left))}


async def test_processes_take_turns_on_fewer_connections(stores: list[PostgresStore]) -> None:
    await asyncio.gather(*(work(store) for store in stores))

    numbers = (await stores[0].snapshot(0)).numbers
    assert set(numbers.values()) == {3 * ROUNDS}
    assert len(await stores[0].list_jobs(JobFilter(), None, 100)) == PROCESSES * ROUNDS


async def test_nothing_outlives_a_transaction(stores: list[PostgresStore]) -> None:
    await work(stores[0])
    database = stores[0]._database  # pyright: ignore[reportPrivateUsage]
    links = [one for one in database._links if one.connected]  # pyright: ignore[reportPrivateUsage]

    assert len(links) >= 3
    for link in links:
        connection = link.connection()
        for left in (
            b"SELECT name FROM pg_prepared_statements",
            b"SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'",
            b"SELECT locktype FROM pg_locks WHERE locktype = 'advisory'",
            b"SELECT channel FROM pg_listening_channels() AS channel",
        ):
            assert connection.execute(left).fetchall() == [], left


async def test_without_a_pooler_what_writes_is_planned_once(direct: str) -> None:
    database = Database(direct)
    try:
        await work(PostgresStore(database, "boot-direct"))

        assert any("INSERT INTO jobs" in text for text in await prepared(database))
    finally:
        await database.close()
