"""What the process itself logs: an outage must not bury what else happens."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from observatory.core.job import ClaimedJob
from observatory.runtime.telemetry import Repeats, configure_logging, lines_of

HOSTILE = "one\n2026-01-01 [error] forged\r\x1b[2J\x1b]0;title\x07\x9b2J\u2028\u202e\ud800two"


@contextmanager
def configured(level: str, service: str = "observatory") -> Iterator[None]:
    """Logging as a process has it, instead of pytest's."""
    root = logging.getLogger()
    before, level_before = root.handlers[:], root.level
    root.handlers = []
    try:
        configure_logging(level, service)
        yield
    finally:
        root.handlers, root.level = before, level_before
        structlog.reset_defaults()
        logging.captureWarnings(False)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_that_repeats_another_is_counted_and_not_written() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    event = {"event": "rabbitmq.unavailable", "error": "refused"}

    assert repeats(None, "warning", dict(event)) == event
    for _ in range(3):
        with pytest.raises(structlog.DropEvent):
            repeats(None, "warning", dict(event))
    clock.now = 31.0

    assert repeats(None, "warning", dict(event)) == {**event, "left_out": 3}
    clock.now = 62.0
    assert repeats(None, "warning", dict(event)) == event


def test_a_line_that_says_anything_else_is_written() -> None:
    repeats = Repeats(Clock())
    repeats(None, "warning", {"event": "finish.stale", "job": "a"})

    assert repeats(None, "warning", {"event": "finish.stale", "job": "b"})["job"] == "b"
    assert repeats(None, "error", {"event": "finish.stale", "job": "a"})["job"] == "a"


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats(Clock())
    for job in range(1001):
        repeats(None, "warning", {"job": job})

    assert repeats(None, "warning", {"job": 0}) == {"job": 0}
    with pytest.raises(structlog.DropEvent):
        repeats(None, "warning", {"job": 1000})


@pytest.mark.parametrize(("level", "lines"), [("info", 0), ("debug", 1)])
def test_requests_that_go_well_are_told_to_who_looks_for_everything(
    level: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with configured(level):
        logging.getLogger("httpx").info("HTTP Request: GET /api/v2/alerts")
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_what_libraries_log_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("warning", "observatory-gateway"):
        library = logging.getLogger("uvicorn.error")
        for _ in range(50):
            library.warning("Invalid HTTP request received.")
        library.log(35, "a level without a %s\n", "name")
        library.info("left out")
        library.error("%d cannot be filled in", "this")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "Invalid HTTP request received."),
        ("warning", "a level without a name"),
        ("error", "%d cannot be filled in"),
    ]
    assert {line["logger"] for line in lines} == {"uvicorn.error"}
    assert {line["service.name"] for line in lines} == {"observatory-gateway"}


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_what_is_logged_with_extra_is_in_the_line_as_far_as_there_is_room(
    capsys: pytest.CaptureFixture[str],
) -> None:
    extra = {"order": 7, "tags": ["a", "b"], "level": "mine", "long": "x" * 9000}
    extra |= {"thing": Unspeakable(), "timestamp": "never", "self": 1, "method_name": 2}
    with configured("warning"):
        logging.getLogger("shop").warning("paid", extra=extra)
        logging.getLogger("shop").warning("many", extra={f"name{n}": n for n in range(100)})

    paid, many = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (paid["order"], paid["tags"], paid["level"]) == (7, ["a", "b"], "warning")
    assert (len(paid["long"]), paid["thing"]) == (2000, "<Unspeakable>")
    assert paid["timestamp"] != "never"
    assert sum(name.startswith("name") for name in many) == 20


class Named:
    def __repr__(self) -> str:
        return HOSTILE


def _log_hostile_text() -> None:
    log = structlog.get_logger()
    log.error(HOSTILE, value=HOSTILE, object=Named(), nested=[HOSTILE], **{HOSTILE: 1})
    logging.getLogger("library").error("%s", HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed")


def test_no_text_forges_a_line_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")

    with configured("warning"):
        _log_hostile_text()

    written = capsys.readouterr().err
    assert not re.search(r"[^\n\x20-\x7e\xa0-\uffff]|[\u2028\u202e\ud800]", written)
    first_words = [line[:4] for line in written.split("\n") if not line.startswith("    ")]
    assert len([word for word in first_words if word]) == 3, written
    assert "\n    2026-01-01 [error] forged" in written, "tracebacks are indented"


def test_no_text_forges_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:

    with configured("warning"):
        _log_hostile_text()

    lines = capsys.readouterr().err.splitlines()
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert [json.loads(line)["event"] for line in lines] == [
        HOSTILE,
        HOSTILE,
        "failed",
    ]


def test_lines_of_a_run_name_it_whatever_they_say_themselves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = ClaimedJob(
        id="j", type="t", queue="q", attempt=2, payload="{}", failures=0, crashes=0,
        max_attempts=3, timeout_s=None, contract_version=1, correlation_id="c", traceparent=None,
    )  # fmt: skip

    with configured("warning"):
        with lines_of(job):
            forged = {"job.id": "forged", "queue": "forged", "trace_id": "forged", "job": 7}
            structlog.get_logger().warning("inside", **forged)
        structlog.get_logger().warning("outside", job="k", attempt=1)

    inside, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert "trace_id" not in inside
    named = ("job.id", "job.type", "job.attempt", "queue", "job")
    assert [inside[name] for name in named] == ["j", "t", 2, "q", 7]
    assert [outside.get(name) for name in named] == ["k", None, 1, None, None]
