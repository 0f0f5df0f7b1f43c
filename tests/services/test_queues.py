"""`GET /queues`: a queue is there before its first job."""

from pathlib import Path

import pytest

from observatory import Observatory
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
