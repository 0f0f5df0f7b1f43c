"""`GET /system`: what the system says of its own health, whole and with a part away."""

from pathlib import Path
from typing import Any

import pytest

from observatory import Observatory
from observatory.core.errors import AggregatesUnavailable, SpineUnavailable, StoreUnavailable
from services.embedding import Served, served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]


async def looked(on: Served) -> dict[str, Any]:
    answer = await on.http.get("/system")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def backends(shown: dict[str, Any]) -> dict[str, bool]:
    return {one["name"]: one["ok"] for one in shown["backends"]}


async def test_a_system_that_is_well_says_so(tmp_path: Path, empty_database: Path) -> None:
    async with served(Observatory(), tmp_path, empty_database, canary_seconds=0.2) as on:

        async def beaten() -> dict[str, Any] | None:
            shown = await looked(on)
            heartbeat = shown["heartbeat"]
            counted = shown["log"]["complete"]
            return shown if counted and heartbeat and heartbeat["lastCompletedAt"] else None

        shown = await until(beaten)

    assert backends(shown) == {"store": True, "spine": True, "aggregates": True}
    assert shown["log"]["complete"]
    assert not shown["log"]["rebuilding"]
    assert shown["log"]["lagSeconds"] < 5
    assert shown["deadLetters"] == 0
    assert shown["heartbeatIntervalSeconds"] == 0.2
    assert shown["outbox"]["commits"] < 10


async def test_without_heartbeat_jobs_there_is_none(tmp_path: Path, empty_database: Path) -> None:
    async with served(Observatory(), tmp_path, empty_database) as on:
        shown = await looked(on)
    assert (shown["heartbeat"], shown["heartbeatIntervalSeconds"]) == (None, 0)


async def test_what_is_away_is_told_and_hides_nothing(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(Observatory(), tmp_path, empty_database, canary_seconds=0.2) as on:
        system = on.system

        async def beating() -> Any:
            return (await looked(on))["heartbeat"]

        await until(beating)

        def away(error: Exception) -> Any:
            async def refuses(*_: Any, **__: Any) -> Any:
                raise error

            return refuses

        with monkeypatch.context() as patched:
            patched.setattr(system.spine, "check", away(SpineUnavailable("the broker is away")))
            patched.setattr(system.spine, "dead_letters", away(SpineUnavailable("away")))
            shown = await looked(on)
        assert backends(shown) == {"store": True, "spine": False, "aggregates": True}
        assert shown["deadLetters"] is None
        (spine,) = (one for one in shown["backends"] if one["name"] == "spine")
        assert spine["detail"] == "the broker is away"

        with monkeypatch.context() as patched:
            patched.setattr(
                system.aggregates, "position", away(AggregatesUnavailable("redis is away"))
            )
            shown = await looked(on)
        assert backends(shown)["aggregates"] is False
        assert shown["outbox"] is not None

        with monkeypatch.context() as patched:
            for name in ("now", "check", "outbox_backlog", "list_jobs"):
                patched.setattr(system.store, name, away(StoreUnavailable("the disk is full")))
            shown = await looked(on)
        assert backends(shown) == {"store": False, "spine": True, "aggregates": True}
        assert (shown["outbox"], shown["heartbeat"]) == (None, None)

        with monkeypatch.context() as patched:
            # The clock of an embedded store is the machine's, and goes on without it.
            patched.setattr(system.store, "check", away(StoreUnavailable("the disk is full")))
            shown = await looked(on)
        (store,) = (one for one in shown["backends"] if one["name"] == "store")
        assert (store["ok"], store["detail"]) == (False, "the disk is full")
