"""Each backend of each protocol, opened on empty data for one test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.benches import (
    AGGREGATES_BENCHES,
    SPINE_BENCHES,
    STORE_BENCHES,
    AggregatesBench,
    SpineBench,
    StoreBench,
)
from observatory.core.aggregates import Aggregates
from observatory.core.spine import Spine
from observatory.core.store import Store


@pytest.fixture(params=sorted(STORE_BENCHES))
async def store_bench(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path
) -> AsyncIterator[StoreBench]:
    bench = STORE_BENCHES[request.param](tmp_path, empty_database)
    await bench.open()
    yield bench
    await bench.close()


@pytest.fixture
def store(store_bench: StoreBench) -> Store:
    return store_bench.store


@pytest.fixture(params=sorted(SPINE_BENCHES))
async def spine_bench(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path
) -> AsyncIterator[SpineBench]:
    bench = SPINE_BENCHES[request.param](tmp_path, empty_database)
    await bench.open()
    yield bench
    await bench.close()


@pytest.fixture
def spine(spine_bench: SpineBench) -> Spine:
    return spine_bench.spine


@pytest.fixture(params=sorted(AGGREGATES_BENCHES))
async def aggregates_bench(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path
) -> AsyncIterator[AggregatesBench]:
    bench = AGGREGATES_BENCHES[request.param](tmp_path, empty_database)
    await bench.open()
    yield bench
    await bench.close()


@pytest.fixture
def aggregates(aggregates_bench: AggregatesBench) -> Aggregates:
    return aggregates_bench.aggregates
