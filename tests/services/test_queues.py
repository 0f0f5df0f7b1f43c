"""`GET /queues`: a queue is there before its first job."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from observatory import Observatory
from observatory.core.instant import MICROSECONDS
from observatory.services.read_model.freshness import Clock, Freshness
from services.embedding import served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]


async def test_queues_that_never_had_a_job_are_told_with_zeros(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    @app.job("rare", queue="of.a.type")
    async def rare() -> None: ...

    async with served(app, tmp_path, empty_database, queues="of.a.setting") as on:
        items = (await on.http.get("/queues")).json()["items"]
        told = {one["name"]: one for one in items}

    assert set(told) == {"of.a.type", "of.a.setting"}
    for one in told.values():
        assert set(one["states"].values()) == {0}
        assert not one["paused"]
        assert (one["createdPerSecond"], one["finishedPerSecond"]) == (0, 0)
        for unknown in ("oldestQueuedAt", "oldestAgeSeconds", "waitSeconds", "runSeconds"):
            assert one[unknown] is None


async def test_counts_that_are_old_are_told_as_such_in_both_views_of_them(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def old(clock: Clock, now: int | None = None) -> Freshness:
        return Freshness(1_764_000_000_000_000, 7, 45.0, complete=False, rebuilding=True)

    async with served(Observatory(), tmp_path, empty_database) as on:
        views: list[dict[str, Any]] = []
        with monkeypatch.context() as patched:
            patched.setattr(Clock, "freshness", old)
            for path in ("/stats", "/queues"):
                views.append((await on.http.get(path)).json())

    told = ("asOf", "lagSeconds", "complete", "rebuilding", "windowSeconds")
    stats, queues = ({name: view[name] for name in told} for view in views)
    assert queues == stats
    assert (queues["lagSeconds"], queues["complete"], queues["rebuilding"]) == (45.0, False, True)


async def test_rates_are_of_the_last_minute_and_times_of_a_quarter_of_an_hour(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database) as on:

        async def queue() -> dict[str, Any]:
            answer = (await on.http.get("/queues")).json()
            assert (answer["rateWindowSeconds"], answer["windowSeconds"]) == (60, 900)
            (only,) = answer["items"]
            return dict(only)

        async def counted() -> bool:
            return (await queue())["states"]["completed"] == 3

        for _ in range(3):
            await on.submit("quick")
        await until(counted)
        told = await queue()
        assert (told["createdPerSecond"], told["finishedPerSecond"]) == (3 / 60, 3 / 60)

        fresh = Clock.freshness

        async def later(clock: Clock, now: int | None = None) -> Freshness:
            known = await fresh(clock, now)
            return msgspec.structs.replace(known, as_of=known.as_of + 120 * MICROSECONDS)

        with monkeypatch.context() as patched:
            patched.setattr(Clock, "freshness", later)
            told = await queue()
        assert (told["createdPerSecond"], told["finishedPerSecond"]) == (0, 0)
        assert told["waitSeconds"] is not None
