"""Contracts of payloads are as strict as the decoding that a handler's run begins with."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observatory.core import form
from observatory.core.contracts import Contract
from observatory.core.payload_contract import contract_from_struct

_ZONES = st.timezones() | st.builds(
    lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)), st.integers(-1439, 1439)
)
HINTS: dict[Any, tuple[form.Form, st.SearchStrategy[Any]]] = {
    dt.date: (form.DATE, st.dates()),
    dt.datetime: (form.DATE_TIME, st.datetimes(timezones=st.none() | _ZONES)),
    Annotated[dt.datetime, msgspec.Meta(tz=True)]: (
        form.DATE_TIME_ZONED,
        st.datetimes(timezones=_ZONES),
    ),
    Annotated[dt.datetime, msgspec.Meta(tz=False)]: (form.DATE_TIME_LOCAL, st.datetimes()),
    dt.time: (form.TIME_OF_DAY, st.times()),
    Annotated[dt.time, msgspec.Meta(tz=True)]: (
        form.TIME_OF_DAY_ZONED,
        st.times(timezones=st.just(dt.UTC)),
    ),
    Annotated[dt.time, msgspec.Meta(tz=False)]: (form.TIME_OF_DAY_LOCAL, st.times()),
    dt.timedelta: (
        form.DURATION,
        st.timedeltas(dt.timedelta(days=-9_999_999), dt.timedelta(days=9_999_999)),
    ),
    Decimal: (form.DECIMAL, st.decimals(allow_nan=False, allow_infinity=False)),
    bytes: (form.BASE64, st.binary()),
    bytearray: (form.BASE64, st.binary()),
}


def struct_of(hint: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct("work_payload", [("value", hint)])


@pytest.mark.parametrize("hint", HINTS, ids=str)
@given(data=st.data())
def test_what_the_contract_accepts_the_handler_can_be_given(hint: Any, data: st.DataObject) -> None:
    forms = st.sampled_from([one for one, _ in HINTS.values()])
    text = data.draw(forms.flatmap(lambda one: st.from_regex(one.pattern, fullmatch=True)))
    struct = struct_of(hint)

    if not Contract(contract_from_struct(struct)).faults({"value": text}):
        msgspec.convert({"value": text}, struct)


@pytest.mark.parametrize("hint", HINTS, ids=str)
@given(data=st.data())
def test_a_value_as_it_is_written_meets_its_contract(hint: Any, data: st.DataObject) -> None:
    value = data.draw(HINTS[hint][1])
    written = msgspec.to_builtins({"value": value})

    assert Contract(contract_from_struct(struct_of(hint))).faults(written) == ()


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (dt.datetime, "yesterday"),
        (dt.datetime, "2026-02-29T12:00:00Z"),
        (dt.datetime, "2100-02-29T12:00:00Z"),
        (dt.datetime, "0000-01-01T12:00:00Z"),
        (dt.datetime, "2026-01-01T23:59:60Z"),
        (Annotated[dt.datetime, msgspec.Meta(tz=True)], "2026-01-01T12:00:00"),
        (dt.time, "24:00:00"),
        (dt.timedelta, "P1Y"),
        (dt.timedelta, "90"),
        (Decimal, "twelve"),
        (Decimal, "NaN"),
        (bytes, "not base64"),
        (bytes, "YQ"),
    ],
)
def test_a_text_that_says_no_such_value_is_refused_in_words(hint: Any, text: str) -> None:
    (fault,) = Contract(contract_from_struct(struct_of(hint))).faults({"value": text})

    assert fault.pointer == "/value"
    assert fault.detail.startswith("must be ")


@dataclasses.dataclass
class Visit:
    at: dt.datetime


class Trip(msgspec.Struct, tag="trip"):
    days: list[dt.date]
    next: "Trip | None" = None


class Stay(msgspec.Struct, tag="stay"):
    length: dt.timedelta


class Row(msgspec.Struct, array_like=True):
    price: Decimal


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (list[dt.datetime], ["2026-01-01T00:00:00Z"], ["x"]),
        (tuple[int, Decimal], [1, "2"], [1, "x"]),
        (tuple[Decimal, ...], ["2"], ["x"]),
        (dict[str, bytes], {"a": "YQ=="}, {"a": "x"}),
        (dict[dt.date, int], {"2026-01-01": 1}, {"x": 1}),
        (dt.date | None, None, "x"),
        (int | dt.datetime | None, "2026-01-01T00:00:00Z", "x"),
        (Visit, {"at": "2026-01-01T00:00:00Z"}, {"at": "x"}),
        (Trip, {"type": "trip", "days": ["2026-01-01"]}, {"type": "trip", "days": ["x"]}),
        (Trip | Stay | int, {"type": "stay", "length": "P1D"}, {"type": "stay", "length": "x"}),
        (Trip | Stay | None, {"type": "trip", "days": []}, {"type": "trip", "days": ["x"]}),
        (Row, ["1.5"], ["x"]),
    ],
    ids=str,
)
def test_it_is_as_strict_inside_other_types(hint: Any, right: Any, wrong: Any) -> None:
    contract = Contract(contract_from_struct(struct_of(hint)))

    assert contract.faults({"value": right}) == ()
    assert contract.faults({"value": wrong}) != ()
