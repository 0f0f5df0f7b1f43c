"""The reconciler puts back what no work queue holds, and leaves alone what is well."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from conformance.making import submission
from observatory.core.job import Transition
from observatory.core.spine import work_of
from observatory.services.processor.maintenance.reconciler import Reconciler
from services.embedding import Unreliable, bench

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_job_claimed_between_two_looks_is_not_missing(
    tmp_path: Path, empty_database: Path, claimed: bool
) -> None:
    async with bench(tmp_path, empty_database) as on:
        _, commit = await on.store.accept([submission()])
        assert commit is not None
        await on.store.published([commit.number])
        await on.spine.publish([], work_of([commit]))
        consumer = on.spine.consume([commit.transitions[0].queue])
        (delivery,) = await consumer.take(10, 1)

        async def missing(queued: Sequence[Transition]) -> list[Transition]:
            assert len(queued) == 1, "vacuous: it was not looked at"
            if claimed:
                await on.store.claim(delivery.message.jobs, "host:1:boot")
            consumer.acknowledge([delivery])

            async def gone() -> bool:
                return bool(await on.spine.missing(queued))

            while not await gone():
                await asyncio.sleep(0.005)
            return list(queued)

        spine: Any = Unreliable(on.spine, missing=missing)
        with capture_logs() as said:
            await Reconciler(on.store, spine).tick(older_than_s=-1)

        assert ("publish" in spine.calls) is not claimed
        assert [entry["event"] for entry in said] == ([] if claimed else ["reconciler.puts_back"])
