"""Times as people type them into filters: a span back from now, or a moment."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN: Final = re.compile(r"(\d{1,9})([smhd])")

WORDS: Final = "15m, 2h, 7d or 2026-01-31T12:00:00Z"
"""Examples, for whoever typed something else."""


def read_since(text: str, now: datetime | None = None) -> datetime | None:
    """The moment that `15m`, `2h`, `7d` (back from now) or an ISO 8601 time with an offset means;
    None for anything else."""
    try:
        if span := _SPAN.fullmatch(text):
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    return None if when.tzinfo is None else when
