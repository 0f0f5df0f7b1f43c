"""Telling alike failures: one fingerprint for errors that differ only in their particulars."""

import hashlib
import re

_PARTICULARS = re.compile(
    r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}"
    r"|[^\s'\"(]*[/\\][^\s'\")]*"  # paths and addresses
    r"|[^\s'\"(]+(?=, line \d)"  # as a SyntaxError names its file
    r"|'[^']{0,200}'|\"[^\"]{0,200}\"|\d+"
)

_MESSAGE_CHARS_MAX = 500


def normalised(message: str) -> str:
    """The first line of a message with paths, numbers, ids and quoted text taken out."""
    line = message.strip().partition("\n")[0][:_MESSAGE_CHARS_MAX]
    return _PARTICULARS.sub("…", line)


def fingerprint(job_type: str, error_type: str, message: str) -> str:
    """Sixteen hexadecimal digits that alike failures of one job type share."""
    text = f"{job_type}\n{error_type}\n{normalised(message)}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
