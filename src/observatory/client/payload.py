"""What is sent, as JSON: what that or the system cannot hold is refused before, with its place."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, cast

import msgspec

from observatory.client.errors import Unsendable

_DEPTH_MAX: Final = 64
"""As deep as the gateway reads."""


def encoded(body: Mapping[str, Any]) -> bytes:
    """The JSON of a body.

    Raises:
        Unsendable: it holds what cannot be sent as it is; the text says what and where.
    """
    if fault := _fault(body, 1):
        why, tokens = fault
        place = "/".join(["", *map(str, reversed(tokens))])
        raise Unsendable(f"{why} (at {ascii(place)[1:-1]})")
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unsendable(f"this cannot be sent as JSON: {error}") from error


def _fault(value: Any, depth: int) -> tuple[str, list[Any]] | None:
    """What is wrong with a value, and its place from the innermost name outwards."""
    why: str | None = None
    if isinstance(value, str):
        why = _fault_of_text(value)
    elif isinstance(value, float):
        if not isfinite(value):
            # msgspec would write null, and the job would run with that.
            why = f"a payload cannot hold {value}: JSON has no such number"
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            why = "an integer must fit 64 bits; send a longer one as text"
    elif isinstance(value, Mapping | list | tuple):
        return _fault_within(cast("Mapping[Any, Any] | Sequence[Any]", value), depth)
    elif isinstance(value, complex | range) or type(value) is object:
        why = f"{type(value).__qualname__} is no type that JSON has"
    return None if why is None else (why, [])


def _fault_within(
    value: Mapping[Any, Any] | Sequence[Any], depth: int
) -> tuple[str, list[Any]] | None:
    if depth > _DEPTH_MAX:
        return f"it holds itself, or is nested deeper than {_DEPTH_MAX} levels", []
    named = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, part in named:
        if isinstance(name, str) and (why := _fault_of_text(name)):
            return why, []
        if fault := _fault(part, depth + 1):
            fault[1].append(name)
            return fault
    return None


def _fault_of_text(text: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"text cannot hold the lone surrogate {text[error.start]!a}: UTF-8 has none"
    return None
