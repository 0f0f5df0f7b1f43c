"""Points in time as the system keeps them: whole microseconds since the Unix epoch, UTC.

An integer compares, indexes and subtracts exactly in every backend; RFC 3339 text exists only at
the edges (events, HTTP).
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NewType

Instant = NewType("Instant", int)

MICROSECONDS = 1_000_000
"""Microseconds in one second."""

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
"""Section 5.6, up to the microseconds that an instant can hold."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


@lru_cache(maxsize=256)  # the events of one commit share their times
def to_rfc3339(instant: int) -> str:
    """RFC 3339 text in UTC, always with six decimals: ``2026-11-23T21:01:25.123456Z``."""
    seconds, micros = divmod(instant, MICROSECONDS)
    stamp = datetime.fromtimestamp(seconds, UTC)
    return f"{stamp.isoformat()[:19]}.{micros:06d}Z"


def optional_rfc3339(instant: int | None) -> str | None:
    """Like `to_rfc3339`, keeping None."""
    return None if instant is None else to_rfc3339(instant)


def from_rfc3339(text: str) -> Instant:
    """Read RFC 3339 text.

    Raises:
        ValueError: not RFC 3339, without an offset, or outside the years 1970 to 9999.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError("must be an RFC 3339 date and time such as 2026-01-31T12:00:00Z")
    stamp = datetime.fromisoformat(text.upper())
    if not _EPOCH <= stamp <= _LAST:
        raise ValueError("must lie in the years 1970 to 9999, UTC")
    return from_datetime(stamp)


def from_datetime(stamp: datetime) -> Instant:
    """Convert an aware datetime exactly (no float between)."""
    return Instant((stamp - _EPOCH) // timedelta(microseconds=1))


def seconds_between(earlier: int | None, later: int | None) -> float | None:
    """Seconds from one instant to another, never negative; None where either is unknown."""
    if earlier is None or later is None:
        return None
    return max(0, later - earlier) / MICROSECONDS
