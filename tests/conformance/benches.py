"""Backends as the suites use them: on data of their own, with a clock that can be moved.

Another backend joins by a class with the methods of a bench and a name in the table at the end;
no suite changes.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from conformance.postgres import PostgresBench
from conformance.rabbitmq import RabbitmqBench
from conformance.redis_bench import RedisBench
from observatory.backends.sqlite.aggregates import SqliteAggregates
from observatory.backends.sqlite.database import FILE_NAME, Database
from observatory.backends.sqlite.spine import SqliteSpine
from observatory.backends.sqlite.store import SqliteStore
from observatory.core.aggregates import Aggregates
from observatory.core.spine import Spine
from observatory.core.store import Store

PUBLISHER: Final = "boot-a"


class Bench(Protocol):
    """What the benches of every protocol have."""

    async def open(self) -> None:
        """Start on empty data."""
        ...

    async def restart(self) -> None:
        """Close and open again on the same data, as a process that starts anew."""
        ...

    async def advance(self, seconds: float) -> None:
        """Move the backend's clock forward."""
        ...

    async def close(self) -> None:
        """Give everything back. May come twice."""
        ...


class StoreBench(Bench, Protocol):
    """A store under test."""

    store: Store
    """The view of a process whose publisher is `PUBLISHER`; another one after a restart."""

    async def store_of(self, publisher: str) -> Store:
        """The view of another process."""
        ...

    async def occupy_history(self, job_id: str, version: int) -> None:
        """Put a row where a job's history will want its own, which the database then refuses."""
        ...


class SpineBench(Bench, Protocol):
    """A spine under test."""

    spine: Spine

    async def now(self) -> int:
        """The clock by which the log is trimmed, in microseconds."""
        ...

    async def renew(self) -> None:
        """Lose everything: the spine is made anew, empty."""
        ...

    async def spoil(self, queue: str) -> None:
        """Put a message into a work queue that nobody can read."""
        ...


class AggregatesBench(Bench, Protocol):
    """Aggregates under test."""

    aggregates: Aggregates


class SqliteBench:
    """The three protocols in one SQLite file."""

    store: SqliteStore
    spine: SqliteSpine
    aggregates: SqliteAggregates

    def __init__(self, folder: Path, empty_database: Path) -> None:
        self._folder = folder / "data"
        self._empty_database = empty_database
        self._ahead_us = 0

    async def now(self) -> int:
        return self._now()

    def _now(self) -> int:
        return time.time_ns() // 1000 + self._ahead_us

    async def open(self) -> None:
        self._folder.mkdir(parents=True)
        shutil.copyfile(self._empty_database, self._folder / FILE_NAME)
        await self._open()

    async def _open(self) -> None:
        self.database = Database(self._folder, self._now)
        self.store = SqliteStore(self.database, PUBLISHER)
        self.spine = SqliteSpine(self.database)
        await self.spine.open()
        self.aggregates = SqliteAggregates(self.database)

    async def store_of(self, publisher: str) -> SqliteStore:
        return SqliteStore(self.database, publisher)

    async def occupy_history(self, job_id: str, version: int) -> None:
        await self.database.write(
            lambda db: db.execute(
                "INSERT INTO history SELECT seq, ?, '{}' FROM jobs WHERE id = ?", (version, job_id)
            )
        )

    async def restart(self) -> None:
        await self.close()
        await self._open()

    async def spoil(self, queue: str) -> None:
        await self.database.write(
            lambda db: db.execute(
                "INSERT INTO work_messages (queue, priority, body) VALUES (?, 1, ?)",
                (queue, b"no JSON"),
            )
        )

    async def renew(self) -> None:
        await self.close()
        shutil.rmtree(self._folder)
        await self._open()

    async def advance(self, seconds: float) -> None:
        self._ahead_us += round(seconds * 1_000_000)

    async def close(self) -> None:
        await self.database.close()


STORE_BENCHES: Final[dict[str, Callable[[Path, Path], StoreBench]]] = {
    "postgres": PostgresBench,
    "sqlite": SqliteBench,
}
SPINE_BENCHES: Final[dict[str, Callable[[Path, Path], SpineBench]]] = {
    "rabbitmq": RabbitmqBench,
    "sqlite": SqliteBench,
}
AGGREGATES_BENCHES: Final[dict[str, Callable[[Path, Path], AggregatesBench]]] = {
    "redis": RedisBench,
    "sqlite": SqliteBench,
}
