"""Forms of text that callers send, each with the words that say what would be right."""

import re
from typing import Final, NamedTuple

from observatory.core.job_type import JOB_TYPE_PATTERN, QUEUE_PATTERN


class Form(NamedTuple):
    """A form of text: for the machine, and in words for whoever sent another."""

    pattern: re.Pattern[str]
    words: str


JOB_TYPE: Final = Form(
    JOB_TYPE_PATTERN, "a job type's name: a letter, then up to 127 letters, digits or . _ -"
)
QUEUE: Final = Form(
    QUEUE_PATTERN, "a queue's name: a letter or digit, then up to 62 letters, digits or . _ -"
)
TIME: Final = Form(
    re.compile(
        r"(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
        r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    ),
    "an RFC 3339 time with an offset, of the years 1970 to 2999, such as 2026-01-31T12:00:00Z",
)
CORRELATION_ID: Final = Form(
    re.compile(r"[\x21-\x7e]{1,128}"), "1 to 128 visible ASCII characters, without spaces"
)
IDEMPOTENCY_KEY: Final = Form(
    re.compile(r"[\x21\x23-\x7e][\x21-\x7e]{0,254}"),
    "1 to 255 visible ASCII characters, without spaces, the first no quotation mark",
)
JOB_ID: Final = Form(
    re.compile(
        r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-7[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}"
    ),
    "a job's id, a UUID of version 7 such as 0198f3a2-6f2e-7c31-9a51-3b0f6a1c2d4e",
)

_LEAP_YEAR: Final = (
    r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
)
_DAY: Final = (
    r"(?:(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_HOUR: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_CLOCK: Final = rf"{_HOUR}:[0-5][0-9](?:\.[0-9]{{1,9}})?"
_OFFSET: Final = rf"(?:[Zz]|[+-]{_HOUR})"

DATE: Final = Form(re.compile(_DAY), "a date of the calendar such as 2026-01-31")
DATE_TIME: Final = Form(
    re.compile(rf"{_DAY}[Tt]{_CLOCK}{_OFFSET}?"),
    "a date and time such as 2026-01-31T12:00:00Z, with or without an offset",
)
DATE_TIME_ZONED: Final = Form(
    re.compile(rf"{_DAY}[Tt]{_CLOCK}{_OFFSET}"),
    "a date and time with an offset, such as 2026-01-31T12:00:00Z",
)
DATE_TIME_LOCAL: Final = Form(
    re.compile(rf"{_DAY}[Tt]{_CLOCK}"),
    "a date and time without an offset, such as 2026-01-31T12:00:00",
)
TIME_OF_DAY: Final = Form(
    re.compile(rf"{_CLOCK}{_OFFSET}?"), "a time such as 12:00:00, with or without an offset"
)
TIME_OF_DAY_ZONED: Final = Form(
    re.compile(_CLOCK + _OFFSET), "a time with an offset, such as 12:00:00Z"
)
TIME_OF_DAY_LOCAL: Final = Form(re.compile(_CLOCK), "a time without an offset, such as 12:00:00")
DURATION: Final = Form(
    re.compile(
        r"-?P(?=[0-9T])(?:[0-9]{1,8}D)?"
        r"(?:T(?=[0-9])(?:[0-9]{1,8}H)?(?:[0-9]{1,8}M)?(?:[0-9]{1,8}(?:\.[0-9]{1,6})?S)?)?"
    ),
    "an ISO 8601 duration in days, hours, minutes and seconds, such as P1DT12H or PT1.5S",
)
DECIMAL: Final = Form(
    re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[Ee][+-]?[0-9]{1,4})?"),
    'a decimal number as text, such as "12.50"',
)
BASE64: Final = Form(
    re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"),
    "bytes in base64 (RFC 4648, section 4, with padding)",
)


def pattern_of(form: Form) -> str:
    """The form as a ``pattern`` of JSON Schema, of which `words_of` knows the words."""
    return f"^{form.pattern.pattern}$"


_WORDS: Final = {
    pattern_of(form): form.words for form in globals().copy().values() if isinstance(form, Form)
}


def words_of(pattern: str) -> str | None:
    """The words for a ``pattern`` of the contracts; None where it is not one of these forms."""
    return _WORDS.get(pattern)
