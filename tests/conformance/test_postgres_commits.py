"""What a write to PostgreSQL waits for: the disk, unless a crash may undo it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from conformance import postgres
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.migrate import migrate
from observatory.backends.postgres.transaction import Transaction

pytestmark = pytest.mark.anyio

_IS_ON_DISK = b"SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn"
TRIES = 20


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    url = postgres.new_database(postgres.server())
    migrate(url)
    database = Database(url)
    yield database
    await database.close()
    postgres.drop_database(postgres.server(), url)


def write_something(db: Transaction) -> str:
    """Where the write-ahead log then ends."""
    db.execute(b"INSERT INTO publishers VALUES (gen_random_uuid()::text, 1, $1)", (db.now,))
    return str(db.execute(b"SELECT pg_current_wal_insert_lsn()::text")[0][0])


async def test_only_what_a_crash_may_undo_does_not_wait_for_the_disk(database: Database) -> None:
    async def on_disk(*durable: bool) -> list[bool]:
        told: list[bool] = []
        for _ in range(TRIES):
            writes = (database.write(write_something, durable=one) for one in durable)
            for end in await asyncio.gather(*writes):
                rows = await database.read(lambda db, end=end: db.execute(_IS_ON_DISK, (end,)))
                told.append(rows[0][0])
        return told

    # The server flushes by itself now and then, so not each time.
    assert not all(await on_disk(False)), "each write waited for the disk"
    assert all(await on_disk(True))
    assert all(await on_disk(False, True)), "in one commit with what must be on disk"


async def test_what_may_be_lost_shares_the_commit_of_what_comes_next(database: Database) -> None:
    seen: list[str] = []

    def transaction(db: Transaction) -> None:
        write_something(db)
        seen.append(str(db.execute(b"SELECT pg_current_xact_id()")[0][0]))

    for _ in range(TRIES):
        lost = asyncio.create_task(database.write(transaction, durable=False))
        await asyncio.sleep(0.001)  # the writer has it, and has nothing else
        await database.write(transaction)
        await lost
    shared = sum(one == other for one, other in zip(seen[::2], seen[1::2], strict=True))
    # A machine that stands still for as long as it waits keeps them apart.
    assert shared > TRIES / 2
