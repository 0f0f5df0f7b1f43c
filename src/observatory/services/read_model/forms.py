"""The forms of query parameters, each with the words that say what would be right."""

import re
from typing import Final

from observatory.core.form import Form

EVENT_TYPES: Final = Form(
    re.compile(r"(?=.{1,200}\Z)[a-z]+(\.[a-z_]+)+(,[a-z]+(\.[a-z_]+)+)*"),
    "event types such as job.failed, several separated by commas, 200 characters at most",
)
VISIBLE: Final = Form(
    re.compile(r"[\x21-\x7e]{1,200}"), "1 to 200 visible ASCII characters, without spaces"
)
WORKER: Final = Form(
    re.compile(r"[\x21-\x39\x3b-\x7e]{1,128}:[0-9]{1,10}:[0-9A-Za-z_-]{1,60}"),
    "a worker's id as GET /workers tells it: host:pid:bootid",
)
FINGERPRINT: Final = Form(
    re.compile(r"[0-9a-f]{16}"),
    "a fingerprint as GET /failures tells it: 16 hexadecimal digits in lower case",
)
SEARCH: Final = Form(
    re.compile(r"[^\x00-\x1f\x7f]{1,200}"), "1 to 200 characters, none of them a control character"
)
POSITION: Final = Form(
    re.compile(r"[0-9]{1,18}-[0-9]{1,9}"),
    "a position of the event log as GET /events tells it, such as 42-0",
)
