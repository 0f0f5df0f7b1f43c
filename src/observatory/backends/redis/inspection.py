"""What a Redis server is like, for whoever sets the system up."""

import time
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError

from observatory.core.errors import AggregatesUnavailable

_TIMEOUT_S = 5.0


class Server(NamedTuple):
    """A server, as a client sees it."""

    product: str
    version: str
    eviction: str
    """What it does when its memory is full; `noeviction` is what is needed."""
    ahead_s: float
    """Its clock less that of this machine, in seconds; off by no more than `round_trip_s`."""
    round_trip_s: float


def inspect(url: str) -> Server:
    """Look at a server, and change nothing.

    Raises:
        AggregatesUnavailable: it does not answer, or does not let us in.
    """
    client: Any = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - keyword arguments
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    )
    try:
        before = time.time()
        whole, micros = client.time()
        after = time.time()
        told: dict[str, Any] = client.info()
    except (RedisError, OSError) as error:
        raise AggregatesUnavailable(f"Redis does not answer: {error}") from error
    finally:
        client.close()
    valkey = told.get("valkey_version")
    return Server(
        product="Valkey" if valkey else "Redis",
        version=str(valkey or told.get("redis_version", "?")),
        # Without a limit nothing is ever thrown away, whatever the policy.
        eviction=str(told.get("maxmemory_policy", "?")) if told.get("maxmemory") else "noeviction",
        ahead_s=whole + micros / 1e6 - (before + after) / 2,
        round_trip_s=after - before,
    )
