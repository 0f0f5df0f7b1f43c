"""Logging of the process itself: one JSON object a line, or readable lines on a terminal."""

import json
import logging
import os
import sys
import textwrap
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TextIO

import structlog

from observatory import __version__
from observatory.core.job import ClaimedJob
from observatory.core.safe_text import safe
from observatory.core.trace_context import trace_id_of
from observatory.runtime.tracing import SpanIds, current_ids

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
        said = {**_extra(record), "logger": record.name, "exc_info": exc_info}
        structlog.get_logger().log(level, text.rstrip(), **said)


_EVERY_RECORD: Final = {
    *vars(logging.makeLogRecord({})), "message", "asctime", "taskName",
    "color_message",  # uvicorn's own, for a terminal
}  # fmt: skip
_OUR_OWN: Final = {
    "event", "level", "timestamp", "logger", "stack", "stack_info", "exception",
    "self", "method_name",  # structlog's own parameters
}  # fmt: skip
_EXTRA_MAX: Final = 20
_EXTRA_LETTERS: Final = 2000


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What was logged with ``extra=``, as far as a line has room."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name in _EVERY_RECORD or name in _OUR_OWN or len(found) == _EXTRA_MAX:
            continue
        found[name] = _in_a_line(value)
    return found


def _in_a_line(value: object) -> object:
    try:
        if len(json.dumps(value)) <= _EXTRA_LETTERS:
            return value
    except (TypeError, ValueError, RecursionError):
        pass  # no JSON
    try:
        return str(value)[:_EXTRA_LETTERS]
    except Exception:  # whatever it is, the line is written
        return f"<{type(value).__name__}>"


_run: ContextVar[ClaimedJob | None] = ContextVar("observatory_run", default=None)


@contextmanager
def lines_of(job: ClaimedJob) -> Generator[None]:
    """Have whatever is logged in this block, by whomever, say which run it is of."""
    token = _run.set(job)
    try:
        yield
    finally:
        _run.reset(token)


def of_the_run(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add the run that a line is of. A processor of structlog.

    What the line itself says of these is overruled: a handler may log names from its payload.
    """
    job = _run.get()
    if job is None:
        return event
    return {
        **event,
        "job.id": job.id,
        "job.type": job.type,
        "job.attempt": job.attempt,
        "queue": job.queue,
    }


_NAMES: Final = {"job": "job.id", "job_type": "job.type", "attempt": "job.attempt"}
"""What this system itself logs of jobs, by the names of the lines of their runs."""


_OF_A_TRACE: Final = frozenset(SpanIds._fields)


class Origin:
    """Adds where a line comes from: the service, and the trace, if it is of one.

    A processor of structlog.
    """

    def __init__(self, service: str) -> None:
        self._service = {"service.name": service, "service.version": __version__}

    def __call__(
        self, logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """The line with its origin."""
        if "job.id" not in event:
            event = {_NAMES.get(name, name): value for name, value in event.items()}
        event = {**event, **self._service}
        if (job := _run.get()) is not None:
            event = {name: value for name, value in event.items() if name not in _OF_A_TRACE}
            if (trace_id := trace_id_of(job.traceparent)) is not None:
                event["trace_id"] = trace_id
        if (ids := current_ids()) is not None:
            event |= ids._asdict()
        return event


def shown_only(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Make a line safe for a terminal: one line, of which nothing is obeyed. A processor of
    structlog; JSON needs none, as it escapes all this by itself."""
    shown: dict[str, Any] = {}
    for name, value in event.items():
        if name == "exc_info" or value is None or isinstance(value, int | float):
            shown[safe(name)] = value
        elif name == "stack":
            shown[name] = _indented(str(value))
        else:
            shown[safe(name)] = safe(value if isinstance(value, str) else repr(value))
    return shown


def _indented(text: str) -> str:
    return textwrap.indent(safe(text.rstrip(), lines=True), "    ", lambda line: True)


def indented_traceback(target: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a traceback whose every line is indented: a text in it looks like no line of the
    log. A formatter for structlog's renderer for terminals."""
    target.write("\n" + _indented("".join(traceback.format_exception(*exc_info))))


def configure_logging(level: str, service: str = "observatory") -> None:
    """Send structlog and the standard library's logging to stderr, at a level and above."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.WARNING)
    shared = [
        structlog.contextvars.merge_contextvars,
        of_the_run,
        Repeats(),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        renderer: list[structlog.typing.Processor] = [
            shown_only,
            structlog.dev.ConsoleRenderer(
                colors=not os.environ.get("NO_COLOR"), exception_formatter=indented_traceback
            ),
        ]
    else:
        # Without the frames' locals: they hold payloads.
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        renderer = [Origin(service), tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # It writes a line for each attempt to connect, and what has failed is told by ourselves.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    # A line for each request would hide what Alertmanager is asked for, every few seconds.
    for client in ("httpx", "httpcore"):
        told = logging.DEBUG if number <= logging.DEBUG else logging.WARNING
        logging.getLogger(client).setLevel(told)
    logging.captureWarnings(True)
    logging.basicConfig(level=number, handlers=[_Forwarding()])
