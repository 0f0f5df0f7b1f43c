"""Reading JSON from strangers: the same text means the same everywhere, or it is refused.

Refused beyond RFC 8259's grammar: duplicate member names (section 4 leaves them undefined),
integers outside 64 bits and numbers beyond a double, or so small that one would hold zero (they
change on the way through a database), U+0000 and lone surrogates in strings (PostgreSQL cannot hold
them), and depth over a limit. A fraction with more digits than a double holds is rounded, as
RFC 8259 (section 6) has its readers expect.

The common case is decided by a few searches over the bytes; only a body in which something
suspicious stands is walked.
"""

import json
import re
from typing import Any, Final

import msgspec

from observatory.core.errors import Fault, MalformedJson

DEPTH_MAX: Final = 64
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1

_SUSPICIOUS: Final = re.compile(
    rb"(?:^|[\[:,\s])-?(?:[0-9]{19}"  # an integer that may not fit 64 bits
    rb"|[0-9.]+[eE][-+]?[0-9]{3}"  # an exponent that may not fit a double
    rb"|0\.0{200})"  # a fraction that may be none to a double
    rb"|\\u(?:00|[dD][89a-fA-F])"  # NUL, a quote or colon the count of names misses, a surrogate
    rb'|"[ \t\r\n]+:'  # white space before a colon, which the count of names below cannot see
    rb"|\x00"
)
_FLAT: Final = bytes.maketrans(b"123456789E\t\r\n", b"000000000e   ")
_SIGNS: Final = (b"0" * 19, b"0e000", b"0e+000", b"0e-000", rb"\u", b'" ', b"\x00")
"""One of these stands in every flattened body that is suspicious: seven plain searches take a tenth
of the time that the expression takes."""

_MAY_VANISH: Final = re.compile(rb"(?:^|[\[:,\s])-?[0-9.]+[eE]-[0-9]{3}|0\.0{200}")
"""What stands in every number that a double holds as zero and that is none: the least is 5e-324."""

_WHITE_SPACE: Final = b" \t\r\n"
_SURROGATES: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*"  # an even number of backslashes escape one another
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_PAIR_LENGTH: Final = len(r"\ud83d\ude00")


_OUT_OF_RANGE: Final = "a number must fit a double; send a larger one as a string"
_VANISHED: Final = "a number must fit a double, which holds this one as zero; send it as a string"

_raw_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decode(body: bytes, what: str = "the body") -> Any:
    """Decode a body strictly; `what` names it in the error.

    Raises:
        MalformedJson: with the place as far as it can be told.
    """
    value = _parse(body, what)
    if _needs_a_walk(body, value):
        _refuse_duplicate_names(body, what)
        if _MAY_VANISH.search(body):
            _walk(json.loads(body, parse_int=len, parse_float=_float_or_vanished), what)
        _walk(value, what)
    return value


def decode_items(body: bytes, what: str = "the body") -> list[bytes] | None:
    """The items of an array, each still to be decoded by itself, so that a fault of one is not the
    others'; None where the body is JSON and no array.

    Raises:
        MalformedJson: where one item ends and the next begins cannot be told.
    """
    try:
        return [bytes(item) for item in _raw_items(body)]
    except msgspec.ValidationError:
        decode(body, what)
        return None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if (items := _taken_apart(body)) is not None:
            return items
        decode(body, what)
        raise  # not reached: what one decoder cannot read, the other cannot


_lenient = json.JSONDecoder(strict=False, parse_int=len, parse_float=len, parse_constant=len)
_BETWEEN: Final = re.compile(r"[ \t\r\n]*")


def _taken_apart(body: bytes) -> list[bytes] | None:
    """The items of an array in which one is no JSON: a NaN, a control character in a string, a lone
    surrogate; None where it cannot be told apart."""

    def after_space(at: int) -> int:
        space = _BETWEEN.match(text, at)
        return space.end() if space else at

    items: list[bytes] = []
    try:
        text = body.decode()
        at = after_space(0)
        if text[at] != "[":
            return None
        while text[at] != "]":
            start = after_space(at + 1)
            _, end = _lenient.raw_decode(text, start)
            items.append(text[start:end].encode())
            at = after_space(end)
            if text[at] not in ",]":
                return None
        return items if after_space(at + 1) == len(text) else None
    except (ValueError, IndexError, RecursionError):
        return None


def _parse(body: bytes, what: str) -> Any:
    if body.startswith(b"\xef\xbb\xbf"):
        raise MalformedJson(f"{what} starts with a byte order mark; send plain UTF-8")
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise MalformedJson(f"{what} is nested deeper than {DEPTH_MAX} levels") from None
    except UnicodeDecodeError as error:
        raise MalformedJson(f"{what} is not UTF-8: {error.reason}") from None
    except msgspec.DecodeError as error:
        if "out of range" in str(error):
            _refuse_duplicate_names(body, what)
            _walk(json.loads(body, parse_int=len), what)
        raise MalformedJson(_why_not_json(body, error, what)) from None


def _why_not_json(body: bytes, error: msgspec.DecodeError, what: str) -> str:
    """What msgspec does not say itself: it calls both of these truncated."""
    if not body.strip(_WHITE_SPACE):
        return f"{what} is empty"
    for pair in _SURROGATES.finditer(body):
        if len(pair[1]) < _PAIR_LENGTH:
            escape = pair[1][:6].decode()
            return f"text must not hold a lone surrogate ({escape}, byte {pair.start(1)})"
    return f"{what} is not JSON: {error}"


def _needs_a_walk(body: bytes, value: Any) -> bool:
    flat = body.translate(_FLAT)
    if any(sign in flat for sign in _SIGNS) and _SUSPICIOUS.search(body):
        return True
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX:
        return True
    # A repeated name vanishes in decoding, so encoding again yields fewer names.
    return msgspec.json.encode(value).count(b'":') != body.count(b'":')


def _refuse_duplicate_names(body: bytes, what: str) -> None:
    def pairs(items: list[tuple[str, Any]]) -> None:
        names = {name for name, _ in items}
        if len(names) != len(items):
            seen: set[str] = set()
            repeated = next(n for n, _ in items if n in seen or seen.add(n))  # type: ignore[func-returns-value]
            raise MalformedJson(f"the member name {repeated[:100]!r} appears twice in one object")

    try:
        # Numbers are not converted: a long run of digits must not cost quadratic time.
        json.loads(body, object_pairs_hook=pairs, parse_int=len, parse_float=len)
    except RecursionError:
        raise MalformedJson(f"{what} is nested deeper than {DEPTH_MAX} levels") from None
    except UnicodeDecodeError as error:
        raise MalformedJson(f"{what} is not UTF-8: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise MalformedJson(f"{what} is not JSON: {error}") from None


class _Vanished:
    """Stands for a number that is not zero and that a double holds as zero."""


def _float_or_vanished(text: str) -> float | _Vanished:
    number = float(text)
    if number == 0.0 and text.lower().partition("e")[0].strip("-0."):
        return _Vanished()
    return number


def _walk(root: Any, what: str) -> None:
    stack: list[tuple[Any, str, int]] = [(root, "", 1)]
    while stack:
        value, pointer, depth = stack.pop()
        if depth > DEPTH_MAX and isinstance(value, dict | list):
            raise MalformedJson(f"{what} is nested deeper than {DEPTH_MAX} levels")
        if isinstance(value, dict):
            for name, member in value.items():  # pyright: ignore[reportUnknownVariableType]
                _check_text(str(name), pointer)  # pyright: ignore[reportUnknownArgumentType]
                stack.append((member, f"{pointer}/{escape(str(name))}", depth + 1))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list):
            stack.extend((m, f"{pointer}/{i}", depth + 1) for i, m in enumerate(value))  # pyright: ignore
        elif isinstance(value, str):
            _check_text(value, pointer)
        elif isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
            _refuse(pointer, "an integer must fit 64 bits; send a longer one as a string")
        elif isinstance(value, float) and value in (float("inf"), float("-inf")):
            _refuse(pointer, _OUT_OF_RANGE)
        elif isinstance(value, _Vanished):
            _refuse(pointer, _VANISHED)


def _check_text(text: str, pointer: str) -> None:
    if "\x00" in text:
        _refuse(pointer, "text must not hold the character U+0000")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        _refuse(pointer, "text must not hold a lone surrogate")


def _refuse(pointer: str, detail: str) -> None:
    raise MalformedJson(detail, faults=(Fault(pointer, detail),))


def escape(name: str) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
