"""One action on every job that a filter leaves: counted first, each job once, in stretches."""

from pathlib import Path
from typing import Any

import pytest

from observatory import Observatory, Retry
from observatory.core.errors import StoreUnavailable
from observatory.core.job import Job
from observatory.core.lifecycle import State
from observatory.core.store import JobFilter
from services.embedding import Served, served, until
from shapes import on_both_shapes

pytestmark = [pytest.mark.anyio, on_both_shapes]

UNKNOWN = "019363a7-2c1d-7b52-9d3e-6f1c2a3b4c5d"


def application() -> Observatory:
    """Jobs that fail until they are told not to, one that goes well, one that never ends."""
    app = Observatory()
    app.mended = False  # type: ignore[attr-defined]

    @app.job("broken", max_attempts=1)
    async def broken(n: int = 0) -> str:
        if not app.mended:  # type: ignore[attr-defined]
            raise RuntimeError("the other side is away")
        return "done"

    @app.job("fine")
    async def fine() -> None: ...

    @app.job("retried", max_attempts=3, retry=Retry(base=3600, cap=3600))
    async def retried() -> None:
        raise RuntimeError("not yet")

    return app


async def act(on: Served, action: str, **body: Any) -> dict[str, Any]:
    answer = await on.http.post("/jobs/actions", json={"action": action, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def submit_many(on: Served, type: str, count: int, **fields: Any) -> list[str]:
    items = [{"type": type, "payload": {}, **fields}] * count
    answer = await on.http.post("/jobs/batch", json=items)
    assert answer.status_code == 202, answer.text
    return [item["jobId"] for item in answer.json()["items"]]


async def states(on: Served) -> dict[str, int]:
    found = (await on.http.get("/stats")).json()["states"]
    return {state: count for state, count in found.items() if count}


async def reached(on: Served, **wanted: int) -> None:
    async def there() -> bool:
        return await states(on) == wanted

    await until(there, f"for {wanted}")


async def test_the_jobs_of_a_filter_are_counted_and_then_run_again(
    tmp_path: Path, empty_database: Path
) -> None:
    app = application()
    async with served(app, tmp_path, empty_database) as on:
        await submit_many(on, "broken", 7)
        await submit_many(on, "fine", 3)
        await reached(on, failed=7, completed=3)
        filter = {"type": "broken"}

        counted = await act(on, "retry", filter=filter, dryRun=True)

        begin = counted.pop("next")
        assert counted == {
            "action": "retry", "dryRun": True, "matched": 7, "complete": True, "changed": 0,
            "skipped": 0,
        }  # fmt: skip
        assert await states(on) == {"failed": 7, "completed": 3}

        app.mended = True  # type: ignore[attr-defined]
        await submit_many(on, "retried", 1)
        done = await act(on, "retry", filter=filter, cursor=begin)

        assert (done["matched"], done["changed"], done["skipped"]) == (7, 7, 0)
        assert (done["complete"], done["next"]) == (True, None)
        await reached(on, completed=10, retrying=1)


async def test_what_came_after_the_count_is_not_taken_along(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        counted = await submit_many(on, "broken", 2)
        await reached(on, failed=2)
        begin = (await act(on, "retry", filter={}, dryRun=True))["next"]
        later = await submit_many(on, "broken", 3)
        await reached(on, failed=5)

        assert (await act(on, "retry", filter={}, cursor=begin))["changed"] == 2
        again = [
            [t.move for t in await on.history(id)].count("requeue_by_operator")
            for id in (*counted, *later)
        ]
        assert again == [1, 1, 0, 0, 0]


async def test_a_job_that_has_changed_since_it_was_found_is_left_alone(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        (changed, same) = await submit_many(on, "broken", 2)
        await reached(on, failed=2)
        store = on.system.store
        found = await store.list_jobs(JobFilter(states=(State.FAILED,)), None, 10)

        async def as_before(*_: Any) -> list[Job]:
            return found

        # It is run again by somebody else, and fails again, between finding and changing.
        await on.http.post(f"/jobs/{changed}/retry")

        async def failed_again() -> bool:
            return len(await on.history(changed)) == 6

        await until(failed_again)
        monkeypatch.setattr(store, "list_jobs", as_before)
        done = await act(on, "retry", filter={"state": ["failed"]})

        assert (done["matched"], done["changed"], done["skipped"]) == (2, 1, 1)
        moves = [t.move for t in await on.history(changed)]
        assert moves.count("requeue_by_operator") == 1
        assert "requeue_by_operator" in [t.move for t in await on.history(same)]


async def test_named_jobs_that_were_cut_off_are_named_again(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        ids = await submit_many(on, "broken", 60)
        await reached(on, failed=60)
        store, left = on.system.store, [55]
        requeue = store.requeue

        async def sometimes(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailable("the disk is full")
            return await requeue(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(store, "requeue", sometimes)
            told = await act(on, "retry", ids=ids)

        # A place to go on from would be refused beside ids.
        assert (told["changed"], told["complete"], told["next"]) == (50, False, None)


async def test_what_was_done_before_the_store_went_away_is_told_and_gone_on_from(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        await submit_many(on, "broken", 120)
        await reached(on, failed=120)
        store, left = on.system.store, [70]
        requeue = store.requeue

        async def sometimes(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailable("the disk is full")
            return await requeue(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(store, "requeue", sometimes)
            told = await act(on, "retry", filter={})
            nothing = await on.http.post(
                "/jobs/actions", json={"action": "retry", "filter": {}, "cursor": told["next"]}
            )
        assert (told["matched"], told["changed"], told["complete"]) == (50, 50, False)
        assert nothing.status_code == 503

        rest = await act(on, "retry", filter={}, cursor=told["next"])
        # Twenty of the second fifty had been changed when the store went away.
        assert rest["matched"] >= 50
        assert rest["complete"]


async def test_what_went_well_is_not_run_again_unless_it_is_asked_for(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        ids = await submit_many(on, "fine", 2)
        await reached(on, completed=2)

        assert (await act(on, "retry", filter={}))["matched"] == 0
        assert (await act(on, "retry", filter={"state": ["completed"]}))["changed"] == 2
        for id in ids:
            assert [t.move for t in await on.history(id)].count("requeue_by_operator") == 1


async def test_a_state_that_does_not_allow_the_action_is_no_state_at_all(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        await submit_many(on, "fine", 2)
        await reached(on, completed=2)

        assert (await act(on, "cancel", filter={"state": ["completed"]}))["matched"] == 0
        assert (await act(on, "cancel", filter={"state": ["completed"]}, dryRun=True))["complete"]
        assert await states(on) == {"completed": 2}


async def test_waiting_jobs_are_cancelled_and_their_reason_is_kept(
    tmp_path: Path, empty_database: Path
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        await on.http.post("/queues/held/pause")
        held = await submit_many(on, "fine", 4, queue="held")
        later = await submit_many(on, "fine", 1, delaySeconds=3600)
        failing = await submit_many(on, "retried", 1)
        await on.reached(failing[0], "retrying")

        one = await act(on, "cancel", filter={"queue": "held"}, reason="ordered twice")
        assert one["changed"] == 4
        assert (await on.job(held[0]))["cancelReason"] == "ordered twice"
        assert (await act(on, "cancel", filter={}))["changed"] == 2
        for id in (*held, *later, *failing):
            assert (await on.job(id))["state"] == "cancelled"


async def test_jobs_are_named_by_their_ids(tmp_path: Path, empty_database: Path) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        broken = await submit_many(on, "broken", 3)
        (fine,) = await submit_many(on, "fine", 1)
        await reached(on, failed=3, completed=1)

        named = [broken[0], broken[0].upper(), broken[2], UNKNOWN]
        done = await act(on, "retry", ids=named)

        assert (done["matched"], done["changed"]) == (2, 2)
        histories = [await on.history(id) for id in (*broken, fine)]
        again = [[t.move for t in one].count("requeue_by_operator") for one in histories]
        assert again == [1, 0, 1, 0]


async def test_a_text_leaves_those_that_have_it(tmp_path: Path, empty_database: Path) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        ids = [await on.submit("broken", {"n": n}) for n in (41_001, 41_002, 7)]
        await reached(on, failed=3)

        assert (await act(on, "retry", filter={"q": "4100"}, dryRun=True))["matched"] == 2
        assert (await act(on, "retry", filter={"q": "4100"}))["changed"] == 2
        assert len(await on.history(ids[2])) == 3


async def test_many_jobs_are_changed_in_stretches_each_of_them_once(
    tmp_path: Path, empty_database: Path
) -> None:
    # They fail again at once, and match again.
    async with served(application(), tmp_path, empty_database) as on:
        ids = [id for _ in range(3) for id in await submit_many(on, "broken", 400)]
        await reached(on, failed=1200)
        assert (await act(on, "retry", filter={}, dryRun=True))["matched"] == 1200
        answers: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        while True:
            answers.append(await act(on, "retry", filter={}, **cursor))
            if answers[-1]["next"] is None:
                break
            cursor = {"cursor": answers[-1]["next"]}

        assert [one["changed"] for one in answers] == [500, 500, 200]
        assert [one["complete"] for one in answers] == [False, False, True]
        await reached(on, failed=1200)
        for id in ids[::97]:
            moves = [t.move for t in await on.history(id)]
            assert moves.count("requeue_by_operator") == 1


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"action": "retry"}, 422, "needs one of filter, ids"),
        ({"action": "retry", "filter": {}, "ids": [UNKNOWN]}, 422,
         "exclude one another"),
        ({"action": "delete", "filter": {}}, 422, "/action"),
        ({"action": "retry", "filter": {"states": ["failed"]}}, 422, "/filter/states"),
        ({"action": "retry", "filter": {"state": ["broken"]}}, 422, "/filter/state/0"),
        ({"action": "retry", "filter": {"since": "yesterday"}}, 422, "/filter/since"),
        ({"action": "retry", "filter": {"since": "2026-02-30T00:00:00Z"}}, 422, "/filter/since"),
        ({"action": "retry", "ids": []}, 422, "/ids"),
        ({"action": "retry", "ids": ["me"]}, 422, "/ids/0"),
        ({"action": "retry", "filter": {}, "cursor": "elsewhere"}, 422, "/cursor"),
        ({"action": "retry", "ids": [UNKNOWN], "cursor": UNKNOWN}, 422, "together"),
    ],
)  # fmt: skip
async def test_what_is_not_meant_is_refused_with_its_place(
    body: dict[str, Any], status: int, told: str, tmp_path: Path, empty_database: Path
) -> None:
    async with served(application(), tmp_path, empty_database) as on:
        answer = await on.http.post("/jobs/actions", json=body)

    assert answer.status_code == status
    assert told in answer.text
