"""Instants: exact both ways between integers and RFC 3339."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observatory.core.instant import (
    from_datetime,
    from_rfc3339,
    optional_rfc3339,
    seconds_between,
    to_rfc3339,
)

LAST = from_datetime(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC))
instants = st.integers(0, LAST)

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@given(instants)
def test_an_instant_comes_back_from_its_text_exactly(instant: int) -> None:
    text = to_rfc3339(instant)

    assert from_rfc3339(text) == instant
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert optional_rfc3339(instant) == text


@given(instants, instants)
def test_texts_sort_as_their_instants(one: int, other: int) -> None:
    assert (one < other) == (to_rfc3339(one) < to_rfc3339(other))


@given(st.integers(10**12, LAST - 10**12), st.integers(-1439, 1439))
def test_the_same_moment_at_another_offset_is_the_same_instant(instant: int, minutes: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))

    assert from_rfc3339(local.isoformat()) == from_datetime(local) == instant


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-01-31", "12:00:00Z", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00Z",
        "1969-12-31T23:59:59Z", "2026-01-31T12:00:00 +01:00", "20260131T120000.000000Z",
        "2026-W05-6T12:00:00Z", "2026-01-31T120000.123Z", "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00+01:00:30", "2026-01-31T12:00:00+0100", "2026-01-31T12+01:00:00.0",
        "9999-12-31T23:59:59-01:00", "2026-01-31T12:00:00.123Z\n", "２026-01-31T12:00:00.123Z",
    ],
)  # fmt: skip
def test_what_is_not_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_rfc3339(text)


@given(st.from_regex(RFC_3339, fullmatch=True) | st.text(min_size=20, max_size=30))
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    try:
        instant = from_rfc3339(text)
    except ValueError:
        return
    assert RFC_3339.fullmatch(text)
    assert 0 <= instant <= LAST


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("2026-11-23T21:01:25.123456Z", 1_795_467_685_123_456),
        ("2026-11-23t21:01:25.1z", 1_795_467_685_100_000),
    ],
)
def test_known_texts_are_known_instants(text: str, instant: int) -> None:
    assert from_rfc3339(text) == instant


@given(instants, instants)
def test_a_time_between_is_never_negative(one: int, other: int) -> None:
    between = seconds_between(one, other)

    assert between is not None
    assert between == max(0, other - one) / 1_000_000
    assert seconds_between(None, other) is None
    assert seconds_between(one, None) is None
