"""The whole system inside a test, and parts of it that fail when told to."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from conformance.benches import SqliteBench
from conformance.making import without_zeros
from observatory import Observatory
from observatory.assembly.system import System, running
from observatory.backends.sqlite.database import FILE_NAME
from observatory.core.aggregates import ALL_TIME, RESOLUTIONS_S, Aggregates
from observatory.core.job import Transition
from observatory.core.store import Store
from observatory.settings import Settings
from shapes import backends_of

SOON_S = 15.0
"""What must happen is waited for this long; a passing test never does."""

TERMINAL = ("completed", "failed", "cancelled")


async def until(condition: Callable[[], Any], why: str = "") -> Any:
    """Poll until a condition, plain or awaited, gives something true; return that."""
    answer = None
    try:
        async with asyncio.timeout(SOON_S):
            while True:
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"still {answer!r} after {SOON_S} s {why}") from None


class Served:
    """A system in this process and a client to it."""

    def __init__(self, system: System, http: httpx.AsyncClient) -> None:
        self.system = system
        self.http = http

    async def submit(self, type: str, payload: Any = None, **fields: Any) -> str:
        """The id of a job that was accepted."""
        body = {"type": type, "payload": payload or {}, **fields}
        answer = await self.http.post("/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["jobId"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """What the read model shows."""
        answer = await self.http.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def reached(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job, once it is in one of these states (a terminal one where none is named)."""

        async def there() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["state"] in (states or TERMINAL) else None

        return dict(await until(there, f"for {job_id} to be {states or TERMINAL}"))

    async def history(self, job_id: str) -> list[Transition]:
        """Every transition of a job."""
        return await self.system.store.history(job_id)


@asynccontextmanager
async def served(
    app: Observatory, folder: Path, empty_database: Path | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Run an application from a folder, with quick heartbeats."""
    data = folder / "data"
    if empty_database is not None and not data.exists():
        data.mkdir()
        shutil.copyfile(empty_database, data / FILE_NAME)
    quick: dict[str, Any] = {"data": data, "heartbeat_seconds": 0.05, "grace_seconds": 5.0}
    quick |= backends_of(folder)
    async with running(app, Settings(**(quick | settings))) as system:
        transport = httpx.ASGITransport(app=system.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield Served(system, http)


@asynccontextmanager
async def bench(folder: Path, empty_database: Path) -> AsyncIterator[SqliteBench]:
    """The three backends without any service."""
    opened = SqliteBench(folder, empty_database)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


class Unreliable:
    """Stands before a backend and fails as told: `before` nothing was done, or `after` all was."""

    def __init__(self, inner: Any, **attributes: Any) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self._attributes = attributes
        self._before: dict[str, list[BaseException]] = {}
        self._after: dict[str, list[BaseException]] = {}
        self._answers: dict[str, Any] = {}

    def before(self, method: str, *errors: BaseException) -> None:
        """The next calls of a method raise these instead of doing anything."""
        self._before.setdefault(method, []).extend(errors)

    def after(self, method: str, *errors: BaseException) -> None:
        """The next calls of a method do what they do, and then raise these."""
        self._after.setdefault(method, []).extend(errors)

    def answer(self, method: str, answer: Any) -> None:
        """Calls of a method are answered so, until `mended`."""
        self._answers[method] = answer

    def mended(self) -> None:
        """Calls are answered by the backend again."""
        self._answers.clear()

    def __getattr__(self, name: str) -> Any:
        if name in self._attributes:
            return self._attributes[name]
        inner = getattr(self.inner, name)
        if not asyncio.iscoroutinefunction(inner):
            return inner

        async def call(*arguments: Any, **more: Any) -> Any:
            self.calls.append(name)
            if faults := self._before.get(name):
                raise faults.pop(0)
            if name in self._answers:
                return self._answers[name]
            result = await inner(*arguments, **more)
            if faults := self._after.get(name):
                raise faults.pop(0)
            return result

        return call


async def assert_aggregates_equal_the_store(aggregates: Aggregates, store: Store) -> None:
    """G4, number by number."""
    snapshot = await store.snapshot()
    rows, _ = await aggregates.states()
    assert {(r.type, r.queue, r.state): r.count for r in rows} == snapshot.deltas.states
    series = {}
    for width in (ALL_TIME, *RESOLUTIONS_S):
        for row in await aggregates.series(width, 0):
            key = row.key
            series[key.resolution_s, key.bucket_s, key.type, key.queue, key.measure, key.bin] = (
                row.count
            )
    assert without_zeros(series) == without_zeros(snapshot.deltas.series)
