"""A look at each backend from outside, and the schema that this release needs of it."""

import asyncio
from typing import Final

from observatory.assembly.backends import require_scheme
from observatory.backends.postgres import inspection as postgres
from observatory.backends.postgres.migrate import HEAD as POSTGRES_SCHEMA
from observatory.backends.rabbitmq import inspection as rabbitmq
from observatory.backends.redis import inspection as redis
from observatory.backends.sqlite.inspection import File
from observatory.backends.sqlite.inspection import inspect as inspect_file
from observatory.backends.sqlite.migrate import HEAD as FILE_SCHEMA

__all__ = [
    "FILE_SCHEMA",
    "LEAST",
    "POSTGRES_SCHEMA",
    "File",
    "inspect_aggregates",
    "inspect_file",
    "inspect_spine",
    "inspect_store",
]

LEAST: Final = {"PostgreSQL": (15,), "RabbitMQ": (3, 10), "Redis": (7,), "Valkey": (7,)}
"""The oldest version of each that is tested."""


def inspect_store(url: str) -> postgres.Server:
    """A shared store.

    Raises:
        ConfigurationError: the URL is none of PostgreSQL.
        StoreUnavailable: it does not answer.
    """
    require_scheme("OBSERVATORY_STORE_URL", url, "postgresql", "postgres")
    return postgres.inspect(url)


def inspect_spine(url: str) -> rabbitmq.Broker:
    """A shared spine.

    Raises:
        ConfigurationError: the URL is none of RabbitMQ.
        SpineUnavailable: it does not answer.
    """
    require_scheme("OBSERVATORY_SPINE_URL", url, "amqp", "amqps")
    return asyncio.run(rabbitmq.inspect(url))


def inspect_aggregates(url: str) -> redis.Server:
    """Shared aggregates.

    Raises:
        ConfigurationError: the URL is none of Redis.
        AggregatesUnavailable: they do not answer.
    """
    require_scheme("OBSERVATORY_AGGREGATES_URL", url, "redis", "rediss")
    return redis.inspect(url)
