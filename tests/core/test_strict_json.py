"""Strict reading of JSON, beside a slow reading by the standard library that is plainly right."""

import contextlib
import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observatory.core.errors import Fault, MalformedJson
from observatory.core.strict_json import (
    DEPTH_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    decode,
    decode_items,
    escape,
)

SLOW_S = 3.0
"""Far above what a megabyte takes, far below what quadratic work on one would."""

MEGABYTE = 1 << 20


class Refused(Exception):
    """By the oracle."""


def oracle(body: bytes) -> Any:
    """What a body means, or `Refused`: every rule of strict_json said once more, plainly."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            raise Refused("a name twice")
        return dict(items)

    def integer(digits: str) -> int:
        if len(digits) > 20 or not INTEGER_MIN <= int(digits) <= INTEGER_MAX:
            raise Refused("not 64 bits")
        return int(digits)

    def number(digits: str) -> float:
        if math.isinf(value := float(digits)):
            raise Refused("not a double")
        return value

    def constant(name: str) -> Any:
        raise Refused(name)

    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_float=number,
            parse_constant=constant,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(repr(error)) from None
    look(value, 0)
    return value


def look(value: Any, depth: int) -> None:
    if isinstance(value, str) and "\x00" in value:
        raise Refused("U+0000")
    if isinstance(value, dict | list):
        if depth == DEPTH_MAX:
            raise Refused("too deep")
        members = [*value, *value.values()] if isinstance(value, dict) else value
        for member in members:
            look(member, depth + 1)


def assert_read_alike(body: bytes) -> None:
    try:
        expected = oracle(body)
    except Refused as why:
        with pytest.raises(MalformedJson):
            pytest.fail(f"{body[:200]!r} was read as {decode(body)!r:.200}, but: {why}")
    else:
        assert repr(decode(body)) == repr(expected)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(INTEGER_MIN, INTEGER_MAX)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@st.composite
def nearly_json(draw: st.DrawFn) -> bytes:
    """JSON as some library writes it, with a few bytes changed."""
    text = json.dumps(
        draw(values), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2]))
    )
    body = text.encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(body)))
        patch = draw(st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b":", b"\\u0000"]))
        body = body[:place] + patch + body[place + draw(st.integers(0, 2)) :]
    return body


_NAME_PIECES = (
    "a", r"\u0061", r"\"", r"\u0022", ":", r"\u003a", r"\u003A", r"\\", r"\/", r"\ud83d\ude00",
    r"\ud800", r"\udc00", r"\u0000", '":'.replace('"', r"\""), " ", "é",
)  # fmt: skip
names = st.lists(st.sampled_from(_NAME_PIECES), max_size=3).map(lambda p: f'"{"".join(p)}"')
spaces = st.sampled_from(["", "", " ", "\n", "\t\r "])


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(names, spaces, spaces, inner), max_size=4))
    return "{" + ",".join(f"{n}{a}:{b}{v}" for n, a, b, v in members) + "}"


tricky_objects = st.recursive(
    names | st.sampled_from(["1", "-0", "1e5", "9223372036854775808", "1E400", "null", "0.10"]),
    lambda inner: _objects(inner) | st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"),
    max_leaves=10,
)


@given(nearly_json())
def test_a_body_is_read_like_the_standard_library_reads_it_or_refused(body: bytes) -> None:
    assert_read_alike(body)


@given(tricky_objects)
@example(r'{"a":1,"a":2,"b":"\"\u003a"}')
@example(r'{"a":1,"a":2,"\"\u003A":0}')
@example(r'{"a":1,"\u0061":2}')
@example(r'{"\u0022":1,"\"":2}')
def test_a_name_that_stands_twice_is_found_however_it_is_written(text: str) -> None:
    assert_read_alike(text.encode())


@given(st.binary(max_size=20))
def test_any_bytes_are_read_or_refused_as_malformed(body: bytes) -> None:
    assert_read_alike(body)


@given(values)
def test_what_is_accepted_means_the_same_after_another_round(value: Any) -> None:
    body = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        read = decode(body)
    except MalformedJson:
        return
    assert repr(decode(json.dumps(read).encode())) == repr(read)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a" :1,"a":2}',
        b'{"a"\n\t:1,"a"\r :2}',
        b'{"":1,"":2}',
        rb'{"\"":1,"\"":2}',
        rb'{"\u0022":1,"\"":2}',
        rb'{"\u0061":1,"a":2}',
        rb'{"a":1,"a":2,"b":"\"\u003a"}',
        rb'{"a":1,"a":2,"b":"\":"}',
        b'[{"x":{"y":[{"a":1,"b":2,"a":3}]}}]',
        '{"é":1,"\\u00e9":2}'.encode(),
    ],
)
def test_a_repeated_name_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson, match="twice"):
        decode(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":{"a":1},"b":{"a":2}}', {"a": {"a": 1}, "b": {"a": 2}}),
        (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        (b'{"a":"\\"a\\":1"}', {"a": '"a":1'}),
        (b'{"a" : "b"}', {"a": "b"}),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (b" [ ] ", []),
        (b"9223372036854775807", INTEGER_MAX),
        (b"-9223372036854775808", INTEGER_MIN),
        (b"0.1234567890123456789012345", 0.1234567890123456789012345),
        (b"1e308", 1e308),
    ],
)
def test_what_only_looks_suspicious_is_accepted(body: bytes, value: Any) -> None:
    assert decode(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"[1E+999]", b"1e0000000400",
        b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616",
        b"1e-400", b"-1e-400", b"[0.1E-324]", b"1e-0000400", b"0." + b"0" * 330 + b"1",
        b"0." + b"0" * 250 + b"1e-99", b"1" * 300, b"-" + b"9" * 300, b"1" * 400 + b".5", b"0x10", b"01", b"+1", b".5", b"1.",
    ],
)  # fmt: skip
def test_a_number_that_would_change_on_its_way_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(body)


@pytest.mark.parametrize(
    "body",
    [
        rb'"\u0000"', rb'{"\u0000":1}', b'"\x00"', rb'"\ud800"', rb'"\udc00\ud800"',
        rb'{"\uDFFF":1}', b'"\xed\xa0\x80"', b'"\xff"', b'"\xc0\x80"', b'"\x01"',
        b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "[]".encode("utf-32"),
        b"", b"   ", b"{", b"[1,]", b'{"a":1,}', b"{'a':1}", b"[1] [2]", b"nul", b"//\n1",
    ],
)  # fmt: skip
def test_text_that_is_not_plain_utf_8_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(body)


def test_a_fault_points_at_its_place() -> None:
    with pytest.raises(MalformedJson) as refused:
        decode(b'{"rows":[{"a/b":1},{"a/b":99999999999999999999}]}')

    assert [fault.pointer for fault in refused.value.faults] == ["/rows/1/a~1b"]
    assert all(isinstance(fault, Fault) for fault in refused.value.faults)


def test_a_pointer_escapes_what_would_end_a_token() -> None:
    assert escape("a/b~c") == "a~1b~0c"


def nested(levels: int, opening: bytes, closing: bytes, core: bytes) -> bytes:
    return opening * levels + core + closing * levels


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("core", [b"1", b"[]", b'"text"'])
def test_a_body_may_be_nested_as_deep_as_said_and_no_deeper(
    opening: bytes, closing: bytes, core: bytes
) -> None:
    levels = DEPTH_MAX - (core == b"[]")
    assert decode(nested(levels, opening, closing, core)) is not None

    with pytest.raises(MalformedJson, match="nested"):
        decode(nested(levels + 1, opening, closing, core))


@pytest.mark.parametrize("levels", [1_000, 10_000, 100_000])
def test_a_body_of_nothing_but_brackets_is_refused(levels: int) -> None:
    for body in (b"[" * levels + b"]" * levels, b"[" * levels, b'{"a":' * levels):
        with pytest.raises(MalformedJson):
            decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b"1" * MEGABYTE,
        b"0." + b"1" * MEGABYTE,
        b"1e" + b"9" * MEGABYTE,
        b"[" + b",".join([b"1" * 4000] * 250) + b"]",
        b"[" * MEGABYTE,
        b'{"a":' * (MEGABYTE // 5),
        b'{"":1' + b',"":1' * (MEGABYTE // 5) + b"}",
        b"{" + b",".join(b'"%d" :1' % n for n in range(100_000)) + b"}",
        b'"' + rb"\u0000" * (MEGABYTE // 6) + b'"',
        b'"' + rb"\ud83d" * (MEGABYTE // 6) + b'"',
        b'"' + rb"\"" * (MEGABYTE // 2) + b'"',
        b'"' + b'" ' * (MEGABYTE // 2) + b'"',
        b"[" + b'" ' * (MEGABYTE // 2),
        b'"' + b" " * MEGABYTE,
        b'["' + b"\t" * MEGABYTE + b":",
        b"{" + b'"a" ' * (MEGABYTE // 4),
        b"0." + b"0" * MEGABYTE + b"1",
        b"[" + b",".join([b"0." + b"0" * 4000 + b"1"] * 250) + b"]",
        b"1" * MEGABYTE + b"e-100",
    ],
    ids=range(19),
)
def test_a_megabyte_made_to_be_slow_is_not(body: bytes) -> None:
    start = time.process_time()
    with contextlib.suppress(MalformedJson):
        decode(body)
    assert time.process_time() - start < SLOW_S


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b" \r\n\t", "the body is empty"),
        (rb'{"a": "\ud800"}', r"lone surrogate (\ud800, byte 7)"),
        (rb'{"a": "\uDC00x"}', r"lone surrogate (\uDC00, byte 7)"),
        (rb'{"\ud800": 1}', r"lone surrogate (\ud800, byte 2)"),
        (rb'["\ud83d\ude00\ud83d"]', r"lone surrogate (\ud83d, byte 14)"),
        (rb'["\\ud800", "\\\ud800"]', r"lone surrogate (\ud800, byte 15)"),
        (rb'["\\ud800"', "not JSON"),
        (b'{"a": ', "not JSON"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, said: str) -> None:
    with pytest.raises(MalformedJson) as refusal:
        decode(body)
    assert said in refusal.value.detail


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a":{"b":1e400}}', "/a/b"),
        (b"[1,-1e999]", "/1"),
        (b"1e400", ""),
        (b'{"a":[0, 1e-400]}', "/a/1"),
    ],
)
def test_a_number_out_of_range_is_pointed_at(body: bytes, pointer: str) -> None:
    with pytest.raises(MalformedJson, match="must fit a double") as caught:
        decode(body)
    assert caught.value.faults[0].pointer == pointer


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[0e-400,0.0E-999,-0e400]", [0.0, 0.0, -0.0]),
        (b"5e-324", 5e-324),
        (b"0." + b"0" * 300 + b"1", 1e-301),
        (b"0.1234567890123456789012345678901234567890", 0.12345678901234568),
        (b'{"id":"9f1e-400"}', {"id": "9f1e-400"}),
    ],
)
def test_zeros_and_what_is_only_rounded_are_accepted(body: bytes, value: object) -> None:
    assert decode(body) == value


documents = st.recursive(
    st.none() | st.booleans() | st.integers(INTEGER_MIN, INTEGER_MAX) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(documents))
def test_items_one_by_one_are_the_array(items: list[Any]) -> None:
    for body in (json.dumps(items).encode(), json.dumps([*items, math.nan]).encode()):
        raw = decode_items(body)
        assert raw is not None
        with contextlib.suppress(MalformedJson):  # of a character refused wherever it stands
            assert [decode(item) for item in raw[: len(items)]] == items
        assert len(raw) == len(items) + (b"NaN" in body[-4:])


@pytest.mark.parametrize(
    "fault",
    [
        b'{"a":1,"a":2}', rb'"\u0000"', b"1e400", b"1e-400", b"[" * 70 + b"]" * 70, b'"\xff"',
        b"NaN", b"-Infinity", rb'"\ud800"', b'"\x1b"', b'"\n,"', rb'{"\ud800":[","]}',
    ],
)  # fmt: skip
def test_a_fault_of_an_item_is_not_that_of_the_array(fault: bytes) -> None:
    items = decode_items(b' [1 ,"\xc3\xa9",' + fault + b"\n,\t[]] ")
    assert items is not None
    assert [decode(item) for item in (items[0], items[1], items[3])] == [1, "é", []]
    with pytest.raises(MalformedJson):
        decode(items[2])


@pytest.mark.parametrize("body", [b"{}", b"1", b"null", b'"[]"'])
def test_what_is_no_array_has_no_items(body: bytes) -> None:
    assert decode_items(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[NaN,]",
        b"[NaN",
        b"[NaN] 1",
        b"\xef\xbb\xbf[]",
        b"",
        b"[" * 100_000,
    ],
)
def test_an_array_that_cannot_be_taken_apart_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode_items(body)
