"""What the process itself logs: an outage must not bury what else happens."""

import json
import logging

import pytest
import structlog

from observatory.runtime.telemetry import Repeats, configure_logging


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


def test_what_libraries_log_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        configure_logging("warning")
        library = logging.getLogger("uvicorn.error")
        for _ in range(50):
            library.warning("Invalid HTTP request received.")
        library.log(35, "a level without a %s\n", "name")
        library.info("left out")
        library.error("%d cannot be filled in", "this")
    finally:
        root.handlers, root.level = before, level
        structlog.reset_defaults()
        logging.captureWarnings(False)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "Invalid HTTP request received."),
        ("warning", "a level without a name"),
        ("error", "%d cannot be filled in"),
    ]
    assert {line["logger"] for line in lines} == {"uvicorn.error"}
