"""The registered job types as the gateway knows them: fresh enough, and read no more than needed."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from observatory.core.errors import StoreUnavailable, UnknownJobType
from observatory.core.job_type import JobType, Retry
from observatory.services.gateway import submission
from observatory.services.gateway.submission import JobTypes

pytestmark = pytest.mark.anyio


def job_type(name: str) -> JobType:
    return JobType(
        name=name,
        version=1,
        queue="default",
        max_attempts=3,
        timeout_s=None,
        retry=Retry(),
        contract={"type": "object"},
    )


class Registered:
    """The one thing that is asked of the store."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.reads = 0
        self.faults: list[Exception] = []

    async def job_types(self) -> list[JobType]:
        self.reads += 1
        names = list(self.names)
        await asyncio.sleep(0.01)
        if self.faults:
            raise self.faults.pop()
        return [job_type(name) for name in names]


async def test_unknown_names_of_one_request_are_looked_up_together() -> None:
    store = Registered("known")
    types = JobTypes(store, allow_unknown=False)  # type: ignore[arg-type]
    began = time.monotonic()
    for n in range(1000):
        with pytest.raises(UnknownJobType):
            await types.find(f"unknown-{n}", began)
    assert (await types.find("known", began))[0].name == "known"
    assert store.reads == 1


async def test_requests_that_come_together_share_a_reading() -> None:
    store = Registered("known")
    types = JobTypes(store, allow_unknown=True)  # type: ignore[arg-type]
    began = time.monotonic()
    names = ["known", *(f"unknown-{n}" for n in range(50))]
    await asyncio.gather(*(types.find(name, began) for name in names))
    assert store.reads == 1


async def test_a_type_registered_before_the_request_is_known_to_it() -> None:
    store = Registered()
    types = JobTypes(store, allow_unknown=False)  # type: ignore[arg-type]
    earlier = asyncio.create_task(types.find("new", time.monotonic()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.reads == 1, "vacuous: the reading under way did not begin before"
    store.names.append("new")
    found, _ = await types.find("new", time.monotonic())
    assert found.name == "new"
    with pytest.raises(UnknownJobType):
        await earlier


async def test_a_reading_that_fails_is_told_to_all_and_tried_by_the_next() -> None:
    store = Registered("known")
    store.faults.append(StoreUnavailable("gone"))
    types = JobTypes(store, allow_unknown=False)  # type: ignore[arg-type]
    answers = await asyncio.gather(
        *(types.find("known", time.monotonic()) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert (await types.find("known", time.monotonic()))[0].name == "known"


async def test_what_is_known_is_read_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(submission, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    store = Registered("known")
    types = JobTypes(store, allow_unknown=False)  # type: ignore[arg-type]
    for seconds, reads in ((0, 1), (0.5, 1), (1.0, 2), (0.9, 2)):
        clock[0] += seconds
        await types.find("known", clock[0])
        assert store.reads == reads
