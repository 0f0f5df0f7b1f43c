"""`GET /queues`: a queue is there before its first job."""

from pathlib import Path
from typing import Any

import pytest

from observatory import Observatory
from observatory.services.read_model.freshness import Clock, Freshness
from services.embedding import served
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
