"""Queues cost for as long as their numbers are kept, so there is a limit to them."""

from pathlib import Path

import pytest

from conformance.making import accept, submission
from observatory import Observatory
from observatory.core.aggregates import Deltas, Position
from observatory.core.errors import TooManyQueues
from observatory.core.instant import MICROSECONDS
from observatory.core.lifecycle import State
from observatory.services.gateway.queues import Queues
from observatory.services.processor import service
from observatory.services.read_model import stats
from observatory.services.read_model.freshness import Freshness
from services.embedding import bench, served, until

pytestmark = pytest.mark.anyio

NOW_S = 1_700_000_000


async def test_a_job_for_one_queue_too_many_is_refused(
    tmp_path: Path, empty_database: Path
) -> None:
    app = Observatory()

    @app.job("quick", queue="own")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database, queues_max=4) as on:
        for queue in ("own", "default", "a", "b", "a"):
            await on.submit("quick", queue=queue)

        body = {"type": "quick", "payload": {}, "queue": "c"}
        refused = await on.http.post("/jobs", json=body)
        batch = await on.http.post("/jobs/batch", json=[body, {**body, "queue": "b"}])

    assert refused.status_code == 422
    assert refused.json()["type"].endswith("/too-many-queues")
    assert refused.json()["errors"][0]["pointer"] == "/queue"
    assert [item["status"] for item in batch.json()["items"]] == [422, 202]


async def test_gateways_of_several_processes_count_the_same_queues(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.gateway.queues._KNOWN_FOR_S", 0.0)
    async with bench(tmp_path, empty_database) as on:
        one, other = Queues(on.store, 3), Queues(on.store, 3)
        await one.admit("a")
        await accept(on.store, submission(queue="a"))
        await other.admit("b")
        await accept(on.store, submission(queue="b"))

        for queues in (one, other):
            await queues.admit("a")
            await queues.admit("b")
            with pytest.raises(TooManyQueues):
                await queues.admit("c")


async def test_a_queue_counts_while_its_job_is_on_the_way_to_the_record(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observatory.services.gateway.queues._KNOWN_FOR_S", 0.0)
    async with bench(tmp_path, empty_database) as on:
        queues = Queues(on.store, 2)
        await queues.admit("a")
        with pytest.raises(TooManyQueues):
            await queues.admit("b")

        monkeypatch.setattr("observatory.services.gateway.queues._ON_THE_WAY_S", 0.0)
        await queues.admit("b")


async def test_a_queue_nothing_waits_in_is_left_again(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_KEEP_QUEUE_S", 0.1)
    app = Observatory()

    @app.job("quick")
    async def quick() -> None: ...

    async with served(app, tmp_path, empty_database) as on:

        async def queues() -> list[str]:
            (worker,) = (await on.http.get("/workers")).json()["items"]
            return list(worker["queues"])

        for _ in range(2):
            await on.reached(await on.submit("quick", queue="unheard.of"))

            async def left() -> bool:
                return await queues() == ["default"]

            await until(left)


def _history(queues: int) -> Deltas:
    deltas = Deltas()
    at = NOW_S * MICROSECONDS
    for number in range(queues):
        for _ in range(number + 1):
            deltas.move("t", f"q{number}", None, State.QUEUED)
            deltas.count(at, "t", f"q{number}", "created")
            deltas.duration(at, "t", f"q{number}", "wait", 1000 * (number + 1))
    return deltas


async def test_stats_are_bounded_whatever_queues_there_were(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "_NAMES_MAX", 2)
    async with bench(tmp_path, empty_database) as on:
        await on.aggregates.replace(Position("epoch", 0, {}), _history(4))
        freshness = Freshness((NOW_S + 10) * MICROSECONDS, 0, 0.0, complete=True, rebuilding=False)

        shown = await stats.Statistics(on.aggregates, on.store).stats(freshness, 60)

    counts = {name: group["states"]["queued"] for name, group in shown["queues"].items()}
    assert counts == {"q3": 4, "q2": 3, "other": 3}
    assert shown["queues"]["other"]["createdPerSecond"] == 3 / 60
    assert shown["queues"]["other"]["waitSeconds"] is not None
    assert shown["overall"]["states"]["queued"] == 10
