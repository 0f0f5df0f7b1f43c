"""What is asked: every GET of the read model's OpenAPI document with every parameter it lists.

A parameter that the document gains and `_VALUES` does not know is an error, so that none is left
out by oversight.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

DOCUMENT: Final = Path(__file__).parents[2] / "contracts/openapi/read-model.v1.json"

_PAGING: Final = ("cursor", "limit")
STATES: Final = ("scheduled", "queued", "running", "retrying", "completed", "failed", "cancelled")


@dataclass(frozen=True)
class About:
    """The job that one request is about: what is asked together has one answer at least."""

    job: dict[str, Any]
    others: list[dict[str, Any]]
    random: Random

    def field(self, name: str) -> str:
        """What the job has there, or else another."""
        found = self.job.get(name)
        if found is None:
            found = self.random.choice([o[name] for o in self.others if o.get(name) is not None])
        return str(found)

    def instant(self, direction: int) -> str:
        """A time before or after the job was made."""
        away = timedelta(hours=2) * self.random.random()
        return _text(datetime.fromisoformat(self.job["createdAt"]) + direction * away)


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


Value = Callable[[About], str]

_VALUES: Final[dict[str, dict[str, Value]]] = {
    "": {
        "type": lambda about: about.field("type"),
        "queue": lambda about: about.field("queue"),
        "since": lambda about: about.instant(-1),
        "limit": lambda about: "200",
    },
    "/jobs": {
        "state": lambda about: about.field("state"),
        "worker": lambda about: about.field("worker"),
        "correlationId": lambda about: about.field("correlationId"),
        "parentId": lambda about: about.field("parentId"),
        "fingerprint": lambda about: about.field("fingerprint"),
        "until": lambda about: about.instant(1),
        "q": lambda about: about.random.choice(("work.1", "10.0.0.7", "no job has this")),
    },
    "/jobs/{jobId}": {"Prefer": lambda about: "wait=1"},
    "/jobs/{jobId}/logs": {"order": lambda about: "newest"},
    "/stats": {"window": lambda about: "86400"},
    "/stats/series": {"window": lambda about: "86400", "step": lambda about: "60"},
    "/events": {
        "type": lambda about: "job.failed",
        "subject": lambda about: about.field("id"),
        "after": lambda about: "1-0",
    },
    "/events/stream": {
        "type": lambda about: "job.created",
        "subject": lambda about: about.field("id"),
        "after": lambda about: "1-0",
        "Last-Event-ID": lambda about: "1-0",
    },
}

_IN_PATH: Final[dict[str, Value]] = {
    "jobId": lambda about: about.field("id"),
    "path": lambda about: "job.v1.json",
    "name": lambda about: "ObservatoryServiceDown",
}


@dataclass(frozen=True)
class Question:
    """A route with some parameters; the values change from request to request."""

    path: str
    given: tuple[str, ...]
    pages: bool
    headers: tuple[str, ...]

    @property
    def title(self) -> str:
        """How the table names it."""
        return " ".join((self.path, *self.given))

    def ask(self, about: About) -> tuple[str, dict[str, str]]:
        """The target of one request, and its headers."""
        path = self.path
        for name, value in _IN_PATH.items():
            path = path.replace("{" + name + "}", value(about))
        values = {name: _value(self.path, name)(about) for name in self.given}
        headers = {name: values.pop(name) for name in self.headers if name in values}
        return f"{path}?{urlencode(values)}" if values else path, headers


def _value(path: str, name: str) -> Value:
    found = _VALUES.get(path, {}).get(name) or _VALUES[""].get(name)
    if found is None:
        raise LookupError(f"no value is known for {name} of {path}")
    return found


def questions() -> Iterator[Question]:
    """Each route alone and with each of its parameters; the filters of jobs also in pairs."""
    document = json.loads(DOCUMENT.read_text())
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        parameters = [_resolved(document, one) for one in operations["get"].get("parameters", ())]
        names = [one["name"] for one in parameters if one["name"] != "cursor"]
        headers = tuple(one["name"] for one in parameters if one["in"] == "header")
        pages = any(one["name"] == "cursor" for one in parameters)
        sets: list[tuple[str, ...]] = [(), *((name,) for name in names)]
        if path == "/jobs":
            sets += combinations([name for name in names if name not in _PAGING], 2)
        for given in sets:
            for name in given:
                _value(path, name)
            # A stream says nothing by itself until something happens.
            if path != "/events/stream" or {"after", "Last-Event-ID"} & {*given}:
                yield Question(path, given, pages, headers)


def _resolved(document: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    reference = parameter.get("$ref")
    if reference is None:
        return parameter
    return document["components"]["parameters"][reference.rpartition("/")[2]]
