"""RabbitMQ, PostgreSQL and Redis for a test: the servers of the session, with nothing on them."""

from collections.abc import Iterator

import pytest

from conformance import postgres, rabbitmq, redis_bench


@pytest.fixture
def shared_backends() -> Iterator[dict[str, str]]:
    """The three URLs, as settings."""
    database = postgres.new_database(postgres.server())
    redis_bench.server().cli("FLUSHALL")
    yield {
        "OBSERVATORY_SPINE_URL": rabbitmq.new_virtual_host(),
        "OBSERVATORY_STORE_URL": database,
        "OBSERVATORY_AGGREGATES_URL": redis_bench.server().url(),
    }
    postgres.drop_database(postgres.server(), database)
