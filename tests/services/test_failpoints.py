"""Failpoints: inert unless armed, exact when they are, and each of them is somewhere."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import observatory
from observatory.core.errors import ConfigurationError
from observatory.runtime import failpoints


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_unarmed_nothing_happens() -> None:
    for name in failpoints.NAMES:
        failpoints.reach(name)


def test_a_failpoint_is_reached_once_at_its_pass() -> None:
    failpoints.arm("relay.after_publish=raise@3")
    failpoints.reach("relay.after_publish")
    failpoints.reach("relay.before_publish")
    failpoints.reach("relay.after_publish")
    with pytest.raises(failpoints.FailpointReached):
        failpoints.reach("relay.after_publish")
    failpoints.reach("relay.after_publish")


def test_a_seed_repeats_what_chance_did() -> None:
    def passes() -> list[int]:
        failpoints.arm("relay.after_publish=raise:0.2,seed=7")
        reached = []
        for i in range(100):
            try:
                failpoints.reach("relay.after_publish")
            except failpoints.FailpointReached:
                reached.append(i)
        return reached

    first = passes()
    assert 5 < len(first) < 50
    assert passes() == first


def test_kill_leaves_no_time_to_say_goodbye() -> None:
    program = (
        "import atexit; from observatory.runtime import failpoints as f\n"
        "atexit.register(print, 'goodbye')\n"
        "f.arm('relay.after_publish=kill')\n"
        "f.reach('relay.after_publish'); print('went on')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == ""
    assert "failpoint relay.after_publish: kill at pass 1" in ended.stderr


@pytest.mark.parametrize("text", ["nowhere=kill", "relay.after_publish", "relay.after_publish=x"])
def test_what_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no such failpoint"):
        failpoints.arm(text)


def test_every_failpoint_is_compiled_in() -> None:
    sources = Path(observatory.__file__).parent.rglob("*.py")
    reached = {
        name for path in sources for name in re.findall(r'reach\("([^"]+)"\)', path.read_text())
    }
    assert reached == failpoints.NAMES
