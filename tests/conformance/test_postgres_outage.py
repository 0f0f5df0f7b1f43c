"""What readers of PostgreSQL find once a server that was away is back."""

import asyncio
from pathlib import Path

import pytest

from development.postgres import PostgresServer
from observatory.backends.postgres.database import Database
from observatory.backends.postgres.migrate import migrate
from observatory.backends.postgres.store import PostgresStore
from observatory.core.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

READERS = 4


async def test_once_one_reader_is_connected_again_all_are(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        migrate(server.url())
        database = Database(server.url())
        store = PostgresStore(database, "boot-a")

        async def at_once() -> list[object]:
            """What each of many reads at the same time, so of every reader, came to."""
            reads = (store.check() for _ in range(READERS * 4))
            return list(await asyncio.gather(*reads, return_exceptions=True))

        def refused(answers: list[object]) -> int:
            return sum(isinstance(answer, StoreUnavailable) for answer in answers)

        try:
            assert refused(await at_once()) == 0
            await asyncio.to_thread(server.stop)
            # So long that the pauses between attempts have grown.
            for _ in range(30):
                assert refused(await at_once()) > 0
                await asyncio.sleep(0.1)
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(10):
                while refused([*await asyncio.gather(store.check(), return_exceptions=True)]):
                    await asyncio.sleep(0.02)

            assert refused(await at_once()) == 0
        finally:
            await database.close()
