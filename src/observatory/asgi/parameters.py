"""Reading query parameters strictly: a misspelt filter must not silently show everything."""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.requests import Request

from observatory.core.errors import Fault, InvalidCursor, InvalidParameter
from observatory.core.event import is_uuid
from observatory.core.instant import from_rfc3339
from observatory.core.strict_json import escape


class Form(NamedTuple):
    """A form of text: for the machine, and in words for whoever sent another."""

    pattern: re.Pattern[str]
    words: str


_RFC3339_PATTERN: Final = re.compile(
    r"(19[7-9]\d|2\d{3})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_RFC3339: Final = Form(
    _RFC3339_PATTERN,
    "an RFC 3339 time with an offset, of the years 1970 to 2999, such as 2026-01-31T12:00:00Z",
)


class Parameters:
    """The query parameters of a request, each read once by its kind.

    Every reader raises `InvalidParameter` with what would be right.
    """

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        """Read the query.

        Raises:
            InvalidParameter: a name that is not known.
        """
        try:
            unquote_to_bytes(request.scope["query_string"]).decode()
        except UnicodeDecodeError:
            raise _refuse("query", "must be percent-encoded UTF-8") from None
        self._values: dict[str, list[str]] = {}
        names = sorted(known)
        for name, value in request.query_params.multi_items():
            if name not in names:
                allowed = f"known here: {', '.join(names)}" if names else "none is known here"
                raise _refuse(name, f"the parameter {name[:50]!r} is not known; {allowed}")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, form: Form) -> str | None:
        """Text of a given form."""
        value = self._one(name)
        if value is not None and not form.pattern.fullmatch(value):
            raise _refuse(name, f"must be {form.words}")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        value = self._one(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,10}", value) or not low <= int(value) <= high:
            raise _refuse(name, f"must be a whole number from {low} to {high}")
        return int(value)

    def instant(self, name: str) -> int | None:
        """An RFC 3339 time."""
        value = self.text(name, _RFC3339)
        if value is None:
            return None
        try:
            return from_rfc3339(value)
        except (ValueError, OverflowError) as error:
            raise _refuse(name, str(error)) from None

    def uuid(self, name: str) -> str | None:
        """A UUID."""
        value = self._one(name)
        if value is not None and not is_uuid(value):
            raise _refuse(name, "must be a UUID")
        return value.lower() if value else None

    def choices(self, name: str, allowed: Iterable[str]) -> tuple[str, ...]:
        """Some of a set of words, repeated or separated by commas."""
        words = [word for value in self._values.get(name, []) for word in value.split(",")]
        for word in words:
            if word not in allowed:
                raise _refuse(name, f"must be of {', '.join(allowed)}; got {word[:50]!r}")
        return tuple(dict.fromkeys(words))

    def choice(self, name: str, allowed: Iterable[str], default: str) -> str:
        """One of a set of words."""
        value = self._one(name)
        if value is None:
            return default
        if value not in allowed:
            raise _refuse(name, f"must be one of {', '.join(allowed)}")
        return value

    def cursor(self, name: str = "cursor") -> Any:
        """What `next_cursor` put in, where it was made for these same other parameters.

        Raises:
            InvalidCursor: not one of ours, or for other filters.
        """
        value = self._one(name)
        if value is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4))
            digest, inner = msgspec.json.decode(raw, type=tuple[str, str | int])
        except (ValueError, msgspec.DecodeError, UnicodeError):
            raise InvalidCursor(
                "this is not a cursor of this service; start from the first page"
            ) from None
        if digest != self._digest():
            raise InvalidCursor("the cursor is for other filters; start from the first page")
        return inner

    def next_cursor(self, inner: str | int) -> str:
        """An opaque cursor to go on from, bound to these filters."""
        raw = msgspec.json.encode((self._digest(), inner))
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def _digest(self) -> str:
        filters = sorted((k, v) for k, v in self._values.items() if k not in ("cursor", "limit"))
        return hashlib.sha256(msgspec.json.encode(filters)).hexdigest()[:12]

    def _one(self, name: str) -> str | None:
        values = self._values.get(name, [])
        if len(values) > 1:
            raise _refuse(name, f"the parameter {name!r} may stand once")
        return values[0] if values else None


def _refuse(name: str, detail: str) -> InvalidParameter:
    return InvalidParameter(
        f"{name[:50]}: {detail}", faults=(Fault(f"/{escape(name[:50])}", detail),)
    )
