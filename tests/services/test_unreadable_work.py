"""A work message that cannot be read stops no other, and loses no job."""

import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from conformance.making import submission
from observatory import Observatory
from observatory.core.job import Transition
from services.embedding import bench, served

pytestmark = pytest.mark.anyio

UNREADABLE = (b"{}", b"not JSON", b'{"queue":"default","priority":"normal","jobs":7}')


def _spoil(db: sqlite3.Connection) -> None:
    db.executemany(
        "INSERT INTO work_messages (queue, priority, body) VALUES ('default', 1, ?)",
        [(body,) for body in UNREADABLE],
    )


async def test_the_processor_goes_on_with_what_can_be_read(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    @app.job("good")
    async def good() -> None: ...

    with capture_logs() as said:
        async with served(app, tmp_path, empty_database) as system:
            await system.system.store._database.write(_spoil)
            job = await system.reached(await system.submit("good"))
            ready = await system.http.get("/readyz")

    assert (job["state"], ready.status_code) == ("completed", 200)
    assert not [entry for entry in said if entry["event"] == "loop.tick_failed"]


async def test_what_an_unreadable_message_named_is_found_missing(
    tmp_path: Path, empty_database: Path
) -> None:
    async with bench(tmp_path, empty_database) as on:
        given = submission()
        await on.store.accept([given])
        await on.store._database.write(_spoil)
        (accepted,) = await on.store.history(given.id)
        assert isinstance(accepted, Transition)

        assert await on.spine.consume(["default"]).take(10, 1) == []
        assert await on.spine.missing([accepted]) == [accepted]
