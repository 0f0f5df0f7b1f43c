"""What the process itself logs: an outage must not bury what else happens."""

import pytest
import structlog

from observatory.runtime.telemetry import Repeats


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
