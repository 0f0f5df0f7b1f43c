"""Redis for the suites: one private server a session, emptied for each test."""

import atexit
import functools
import shutil
from pathlib import Path

from conformance.in_memory import new_folder
from development.redis import RedisServer
from observatory.backends.redis.aggregates import RedisAggregates


@functools.cache
def server() -> RedisServer:
    """The server of this session; it ends with the process."""
    folder = new_folder()
    started = RedisServer(folder).start()

    def end() -> None:
        started.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return started


class RedisBench:
    """The aggregates on an empty server."""

    aggregates: RedisAggregates

    def __init__(self, folder: Path, empty_database: Path) -> None:
        del folder, empty_database  # of SQLite

    async def open(self) -> None:
        server().cli("FLUSHALL")
        await self._open()

    async def _open(self) -> None:
        self.aggregates = RedisAggregates(server().url())
        await self.aggregates.open()

    async def restart(self) -> None:
        await self.aggregates.close()
        await self._open()

    async def advance(self, seconds: float) -> None:
        raise NotImplementedError("the aggregates are told the time")

    async def close(self) -> None:
        await self.aggregates.close()
