"""The two shapes that a system under test may have: embedded, or on RabbitMQ, PostgreSQL and Redis.

    pytestmark = [pytest.mark.anyio, on_both_shapes]

runs every test of a module on both, the systems that it starts in its own process (`served`) and in
others (`running_system`) alike. A test that is about SQLite or its folder stays `@embedded_only`.
The servers are those of the session; each folder has a database, a virtual host and a database of
Redis of its own, as it would have a file of its own.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from conformance import postgres, rabbitmq, redis_bench

EMBEDDED: Final = "embedded"
SHARED: Final = "shared"

on_both_shapes: Final = pytest.mark.parametrize(
    "shape", [EMBEDDED, SHARED], indirect=True, scope="module"
)
embedded_only: Final = pytest.mark.embedded_only

_REDIS_DATABASES: Final = 16

_redis_numbers: Final = itertools.cycle(range(_REDIS_DATABASES))
_given: Final[dict[Path, dict[str, str]]] = {}
_current: str = EMBEDDED


def begin(shape: str) -> None:
    """From now on systems are started in this shape."""
    global _current
    _current = shape
    if shape == SHARED:
        servers = (rabbitmq.server, postgres.server, redis_bench.server)
        with ThreadPoolExecutor(len(servers)) as threads:
            list(threads.map(lambda server: server(), servers))


def end() -> None:
    """Give back what was given to the systems of a shape."""
    begin(EMBEDDED)
    for urls in _given.values():
        postgres.drop_database(postgres.server(), urls["store_url"])
    _given.clear()


def backends_of(folder: Path) -> dict[str, str]:
    """The backends of the system in a folder, as settings; none where it is embedded."""
    if _current == EMBEDDED:
        return {}
    if folder not in _given:
        number = next(_redis_numbers)
        redis_bench.server().cli("-n", str(number), "FLUSHDB")
        _given[folder] = {
            "spine_url": rabbitmq.new_virtual_host(),
            "store_url": postgres.new_database(postgres.server()),
            "aggregates_url": redis_bench.server().url(number),
        }
    return _given[folder]
