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

_WORDS: Final = {
    f"^{form.pattern.pattern}$": form.words
    for form in (JOB_TYPE, QUEUE, TIME, CORRELATION_ID, IDEMPOTENCY_KEY, JOB_ID)
}


def words_of(pattern: str) -> str | None:
    """The words for a ``pattern`` of the contracts; None where it is not one of these forms."""
    return _WORDS.get(pattern)
