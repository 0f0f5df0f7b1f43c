"""Logging of the process itself: one JSON object a line, or readable lines on a terminal."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog

_QUIET_FOR_S: Final = 30.0
"""A line that says the same as one within this time is counted, not written."""

_REMEMBERED: Final = 1000


class Repeats:
    """Leaves out lines that only repeat what was just said: an outage is told by each thing that
    waits for its end, and whoever reads must still find what else happens.

    A processor of structlog. The line that is written next says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __call__(
        self, logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """The line, or `structlog.DropEvent` where it repeats."""
        key = f"{method} {sorted(event.items(), key=lambda item: item[0])!r}"
        now = self._clock()
        at, left_out = self._said.get(key, (float("-inf"), 0))
        if now - at < _QUIET_FOR_S:
            self._said[key] = (at, left_out + 1)
            raise structlog.DropEvent
        self._said[key] = (now, 0)
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return {**event, "left_out": left_out} if left_out else event


class _Forwarding(logging.Handler):
    """Hands what libraries log to structlog, so that every line has one form, and what any client
    can have uvicorn say again and again is counted instead of written."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            text = record.getMessage()
        except Exception:  # the arguments do not fit the text
            text = str(record.msg)
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        # structlog knows the levels that have names, and leaves out a line of any other.
        level = min(logging.CRITICAL, max(logging.DEBUG, record.levelno // 10 * 10))
        structlog.get_logger().log(level, text.rstrip(), logger=record.name, exc_info=exc_info)


def configure_logging(level: str) -> None:
    """Send structlog and the standard library's logging to stderr, at a level and above."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.WARNING)
    shared = [
        structlog.contextvars.merge_contextvars,
        Repeats(),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        plain = structlog.dev.RichTracebackFormatter(show_locals=False)
        renderer: list[structlog.typing.Processor] = [
            structlog.dev.ConsoleRenderer(exception_formatter=plain)
        ]
    else:
        # Without the frames' locals: they hold payloads.
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        renderer = [tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # It writes a line for each attempt to connect, and what has failed is told by ourselves.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    logging.basicConfig(level=number, handlers=[_Forwarding()])
