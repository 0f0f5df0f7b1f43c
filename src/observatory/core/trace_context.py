"""Trace contexts as they travel: the headers of W3C Trace Context (level 1), and nothing else.

What a caller sends is kept with the job and passed on, so it is taken only in its one valid form
and within its bounds; anything else counts as not sent, as the recommendation asks.
"""

import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z"
)
_TRACESTATE_CHARS_MAX: Final = 512
"""A longer one is left out whole: cut off, its last entry would say something else."""


class TraceContext(NamedTuple):
    """Which trace something belongs to, and which span of it caused it."""

    traceparent: str | None = None
    tracestate: str | None = None


def read_trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext:
    """The context of two headers; an empty one where they hold none."""
    if traceparent is None or not _TRACEPARENT.match(traceparent):
        return TraceContext()
    usable = (
        tracestate
        and len(tracestate) <= _TRACESTATE_CHARS_MAX
        and tracestate.isascii()
        and tracestate.isprintable()
    )
    return TraceContext(traceparent, tracestate if usable else None)


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace that a context belongs to, in hexadecimal."""
    return None if traceparent is None else traceparent[3:35]
