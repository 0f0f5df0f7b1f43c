"""Failpoints: named places where a test may have the process fail. Inert unless armed.

`OBSERVATORY_FAILPOINTS="processor.after_claim=kill:0.02,dispatch.after_publish=kill@3,seed=7"`
arms them: an action, and either the probability of each pass or the number of the pass at which
it happens once. Actions are `kill` (SIGKILL to this process) and `raise` (`FailpointReached`).
"""

import os
import random
import re
import signal
import sys
from typing import Final, NamedTuple

from observatory.core.errors import ConfigurationError

NAMES: Final = frozenset(
    {
        "gateway.before_commit",
        "gateway.after_commit",
        "gateway.before_response",
        "dispatch.before_publish",
        "dispatch.before_work",
        "dispatch.after_publish",
        "processor.before_claim",
        "processor.after_claim",
        "processor.before_finish",
        "processor.after_finish",
        "maintenance.before_promote",
        "maintenance.after_promote",
        "relay.before_publish",
        "relay.after_publish",
        "engine.before_apply",
        "engine.after_apply",
    }
)

_SPEC: Final = re.compile(
    r"(?P<name>[a-z._]+)=(?P<action>kill|raise)(?::(?P<share>[0-9.]+)|@(?P<passes>[0-9]+))?\Z"
)


class FailpointReached(Exception):  # noqa: N818 - it is no error of the code it interrupts
    """An armed failpoint was passed."""


class _Point(NamedTuple):
    action: str
    share: float | None
    at_pass: int | None


_armed: dict[str, _Point] = {}
_passes: dict[str, int] = {}
_chance = random.Random()  # noqa: S311 - repeatable on purpose


def arm(specification: str) -> None:
    """Arm the failpoints of a specification; an empty one disarms all.

    Raises:
        ConfigurationError: it cannot be read, or names a failpoint that does not exist.
    """
    _armed.clear()
    _passes.clear()
    for part in filter(None, specification.split(",")):
        if part.startswith("seed="):
            _chance.seed(part)
            continue
        match = _SPEC.match(part)
        if match is None or match["name"] not in NAMES:
            raise ConfigurationError(f"OBSERVATORY_FAILPOINTS: no such failpoint: {part!r}")
        share = None if match["share"] is None else float(match["share"])
        at_pass = int(match["passes"] or 1) if share is None else None
        _armed[match["name"]] = _Point(match["action"], share, at_pass)


def reach(name: str) -> None:
    """Pass a failpoint: nothing happens unless it is armed and its turn has come.

    Raises:
        FailpointReached: it is armed with `raise`.
    """
    if not _armed:
        return
    point = _armed.get(name)
    if point is None:
        return
    passes = _passes[name] = _passes.get(name, 0) + 1
    due = passes == point.at_pass if point.share is None else _chance.random() < point.share
    if not due:
        return
    print(f"failpoint {name}: {point.action} at pass {passes}", file=sys.stderr, flush=True)
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise FailpointReached(name)
