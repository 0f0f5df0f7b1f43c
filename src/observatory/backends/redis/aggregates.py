"""The aggregates on Redis: sums, offset and publishers' numbers in one atomic step.

Redis may lose everything, or its last second: the position goes with the sums, so the metrics
engine notices, and goes on from where they are or rebuilds them from the store.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
import redis.asyncio
import structlog
import uuid_utils
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from observatory.backends.redis import scripts
from observatory.core.aggregates import (
    ALL_TIME,
    KEPT_S,
    RESOLUTIONS_S,
    Changes,
    Deltas,
    Mark,
    Measure,
    Position,
    SeriesKey,
    SeriesRow,
    StateCount,
)
from observatory.core.errors import (
    AggregatesUnavailable,
    ConfigurationError,
    PositionMismatch,
)
from observatory.core.lifecycle import State

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_PREFIX: Final = "{observatory}:"
_CONNECT_TIMEOUT_S: Final = 2.0
_ANSWER_TIMEOUT_S: Final = 5.0
_VIEW_TIMEOUT_S: Final = 3.0
"""Of what a person waits for, who has waited two seconds for its age before."""

_BUILT_WITHIN_S: Final = 3600
"""A generation that was begun and never shown goes after this."""

_SLACK_S: Final = 86_400
"""Buckets are dropped by `trim`; where nothing trims any more, they go by themselves this long
after they should have."""

_PUBLISHER_KEPT_S: Final = 30 * 86_400
"""A process that has published nothing for longer than any log is kept, has ended. Should it come
back, its number is too high, which is a gap, and the sums are rebuilt."""

_ROWS_AT_ONCE: Final = 5_000
"""Sums in one step of a rebuild; Redis serves nobody else during a step."""

_BUCKETS_AT_ONCE: Final = 20
"""The same when they are read."""

_WIDTHS: Final = [str(width) for width in RESOLUTIONS_S]

_Row = tuple[tuple[int, int, str, str, str, int], int]

_encode = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(tuple[str, str, State]).decode
_decode_measure = msgspec.json.Decoder(Measure).decode
# Lua's empty table becomes an object.
_decode_buckets = msgspec.json.Decoder(list[list[str] | dict[str, str]]).decode


@lru_cache(maxsize=65_536)
def _measure(name: str) -> Measure:
    # The same few thousand stand in every bucket; each is kept once.
    return _decode_measure(name)


class RedisAggregates:
    """Aggregates in one database of a Redis server, 5 or newer, that evicts nothing."""

    def __init__(self, url: str) -> None:
        """Set up; nothing is connected before it is needed.

        Args:
            url: `redis://` or `rediss://`, with user and password where they are needed.
        """
        # Repeated once, since a connection that was idle may have died: every script is safe to
        # run twice. Not where no answer came in time: a server that hangs would be waited for
        # twice. A cancelled command drops its connection, so no answer is left in one.
        self._redis: Any = redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - keyword arguments
            url,
            decode_responses=True,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._apply = self._redis.register_script(scripts.APPLY)
        self._fill = self._redis.register_script(scripts.FILL)
        self._show = self._redis.register_script(scripts.SHOW)
        self._position = self._redis.register_script(scripts.POSITION)
        self._states = self._redis.register_script(scripts.STATES)
        self._changed = self._redis.register_script(scripts.CHANGED)
        self._read = self._redis.register_script(scripts.BUCKETS)
        self._trim = self._redis.register_script(scripts.TRIM)

    async def open(self) -> None:
        """See whether Redis can be used. One that is away is not waited for.

        Raises:
            ConfigurationError: it refuses the user or the password.
        """
        try:
            memory = await self._redis.info("memory")
        except AuthenticationError as error:
            raise ConfigurationError(f"Redis refuses OBSERVATORY_AGGREGATES_URL: {error}") from None
        except (RedisError, OSError) as error:
            _log.warning("aggregates.away", error=str(error))
            return
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory") and policy != "noeviction":
            _log.warning("aggregates.may_be_evicted", maxmemory_policy=policy, want="noeviction")

    async def position(self) -> Position | None:
        """See `Aggregates.position`."""
        found = await _answered(self._position(keys=[_PREFIX]))
        if found is None:
            return None
        epoch, offset, numbers = found
        return Position(epoch, int(offset), {name: int(n) for name, n in _pairs(numbers)})

    async def apply(self, expected_offset: int, position: Position, deltas: Deltas) -> None:
        """See `Aggregates.apply`."""
        sums = _sums(deltas.states, deltas.series.items(), position.numbers)
        arguments = [expected_offset, position.epoch, position.offset, sums]
        if not await _answered(self._apply(keys=[_PREFIX], args=arguments)):
            raise PositionMismatch(f"the aggregates are not at offset {expected_offset}")

    async def replace(self, position: Position, deltas: Deltas) -> None:
        """See `Aggregates.replace`."""
        generation = uuid_utils.uuid4().hex
        rows = iter(deltas.series.items())
        parts = [_sums(deltas.states, (), position.numbers)]
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            parts.append(_sums({}, chunk, {}))
        for number, part in enumerate(parts):
            arguments = [generation, _BUILT_WITHIN_S, part, number]
            await _answered(self._fill(keys=[_PREFIX], args=arguments))
        arguments = [generation, position.epoch, position.offset, _encode(_WIDTHS), len(parts)]
        if not await _answered(self._show(keys=[_PREFIX], args=arguments)):
            raise AggregatesUnavailable("Redis lost a part of what was just written to it")

    async def invalidate(self) -> None:
        """See `Aggregates.invalidate`."""
        await _answered(self._redis.hdel(f"{_PREFIX}current", "epoch"))

    async def states(self) -> tuple[list[StateCount], int]:
        """See `Aggregates.states`."""
        counts, offset = await _answered(self._states(keys=[_PREFIX]), _VIEW_TIMEOUT_S)
        found = [StateCount(*_decode_state(name), int(n)) for name, n in _pairs(counts)]
        return found, int(offset)

    async def series(
        self, resolution_s: int, since_s: int, type: str | None = None, queue: str | None = None
    ) -> list[SeriesRow]:
        """See `Aggregates.series`."""
        found = await self._series(resolution_s, since_s, None)
        buckets = {} if found is None else found.buckets
        return [
            SeriesRow(SeriesKey(resolution_s, bucket_s, *measure), count)
            for bucket_s, rows in buckets.items()
            for measure, count in rows
            if type in (None, measure[0]) and queue in (None, measure[1])
        ]

    async def changes(self, resolution_s: int, since_s: int, mark: Mark | None) -> Changes:
        """See `Aggregates.changes`."""
        # Of the lifetime everything is read at once, and a scrape has a limit of its own.
        within_s = None if resolution_s == ALL_TIME else _VIEW_TIMEOUT_S
        found = await self._series(resolution_s, since_s, mark, within_s)
        return Changes(Mark("", 0), anew=True, buckets={}) if found is None else found

    async def _series(
        self, width: int, since_s: int, mark: Mark | None, within_s: float | None = None
    ) -> Changes | None:
        known = mark or Mark("", 0)
        while True:
            arguments = [width, since_s, known.generation, known.offset]
            found = await _answered(self._changed(keys=[_PREFIX], args=arguments), within_s)
            if found is None:
                return None
            generation, offset, starts = found
            if width == ALL_TIME:
                starts = ["0"] if since_s <= 0 else []
            # Another generation that is shown meanwhile takes this one away: then from the start.
            buckets = await self._buckets(generation, width, starts, within_s)
            if buckets is not None:
                here = Mark(generation, int(offset or 0))
                return Changes(here, anew=generation != known.generation, buckets=buckets)

    async def _buckets(
        self, generation: str, width: int, starts: list[str], within_s: float | None
    ) -> dict[int, list[tuple[Measure, int]]] | None:
        # A few at a time, for a day of them would hold up everybody else.
        buckets: dict[int, list[tuple[Measure, int]]] = {}
        for first in range(0, len(starts), _BUCKETS_AT_ONCE):
            some = starts[first : first + _BUCKETS_AT_ONCE]
            # Of the lifetime there is one bucket, whose key has no start.
            keys = [f"{width}:{start}" for start in some] if width != ALL_TIME else [str(ALL_TIME)]
            arguments = [generation, *keys]
            text = await _answered(self._read(keys=[_PREFIX], args=arguments), within_s)
            if text is None:
                return None
            for start, flat in zip(some, _decode_buckets(text), strict=True):
                buckets[int(start)] = [(_measure(name), int(n)) for name, n in _pairs(flat)]
        return buckets

    async def trim(self, now_s: int) -> None:
        """See `Aggregates.trim`."""
        limits = [(str(width), now_s - kept_s) for width, kept_s in KEPT_S.items()]
        await _answered(self._trim(keys=[_PREFIX], args=[_encode(limits), _PUBLISHER_KEPT_S]))

    async def close(self) -> None:
        """See `Aggregates.close`."""
        await self._redis.aclose()


async def _answered(asked: Awaitable[T], within_s: float | None = None) -> T:
    try:
        async with asyncio.timeout(within_s):
            return await asked
    except TimeoutError as error:
        raise AggregatesUnavailable(
            "Redis does not serve the aggregates: no answer in time", retry_after_s=1
        ) from error
    except (RedisError, OSError, RuntimeError) as error:
        # The last is uvloop's word for a connection that was closed just before it is written to,
        # which the driver hands on as it is.
        raise AggregatesUnavailable(
            f"Redis does not serve the aggregates: {error}", retry_after_s=1
        ) from error


def _sums(
    states: dict[tuple[str, str, str], int],
    series: Iterable[_Row],
    numbers: dict[str, int],
) -> bytes:
    """Sums as the scripts read them. Counts are text: Lua's numbers are exact up to 2**53 only."""
    totals: list[tuple[str, str]] = []
    buckets: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    for (width, bucket_s, *measure), count in series:
        if count:
            rows = totals if width == ALL_TIME else buckets[width, bucket_s]
            rows.append((_encode(measure).decode(), str(count)))
    return _encode(
        {
            "states": [(_encode(key).decode(), str(n)) for key, n in states.items() if n],
            "totals": totals,
            "buckets": [
                (str(width), str(bucket_s), KEPT_S[width] + _SLACK_S, rows)
                for (width, bucket_s), rows in buckets.items()
            ],
            "numbers": [(publisher, str(n)) for publisher, n in numbers.items()],
        }
    )


def _pairs(flat: Collection[str]) -> Iterator[tuple[str, str]]:
    return zip(islice(flat, 0, None, 2), islice(flat, 1, None, 2), strict=True)
