"""The filter that one types, in the page's own grammar (`web/src/filter.ts`).

state:failed queue:mail since:2h connection refused
"""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from observatory.core.lifecycle import State
from observatory.interfaces.since import WORDS, read_since

STATES: Final = tuple(str(state) for state in State)

_NAMES: Final = {
    "type": "type",
    "queue": "queue",
    "worker": "worker",
    "error": "fingerprint",
    "correlation": "correlationId",
    "parent": "parentId",
    "since": "since",
    "until": "until",
}
"""What stands before the colon, and which parameter of ``GET /jobs`` it is."""

_LIKE_A_FIELD: Final = re.compile(r"([A-Za-z]+):(?!//).")
"""A word, and something behind it that does not make it an address: what one types for a field."""


class Filter(NamedTuple):
    """What was typed, as the API takes it, and what could not be understood.

    Notes tell what is understood, and perhaps not as it was meant.
    """

    params: dict[str, str]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()


def parse(text: str, now: datetime | None = None) -> Filter:
    """Read a filter; spans such as 2h are counted back from now."""
    params: dict[str, str] = {}
    faults: list[str] = []
    notes: list[str] = []
    words: list[str] = []
    states: list[str] = []
    for word in text.split():
        name, colon, value = word.partition(":")
        name = name.lower()
        named = colon and (name == "state" or name in _NAMES)
        if named and not value.strip(","):
            faults.append(f"{name}: says nothing; write a value behind it")
        elif named and name == "state":
            for one in filter(None, value.split(",")):
                if one in STATES:
                    states.append(one)
                else:
                    faults.append(f"{one} is no state; there are {', '.join(STATES)}")
        elif named and _NAMES[name] in params:
            faults.append(f"{name}: stands there twice; one is possible")
        elif named:
            read = _instant(value, now) if name in ("since", "until") else value
            if read is None:
                faults.append(f"{word} is no time; write {WORDS}")
            else:
                params[_NAMES[name]] = read
        else:
            words.append(word)
            if like := _LIKE_A_FIELD.match(word):
                notes.append(_no_field(like[1], word))
    if states:
        params["state"] = ",".join(one for one in STATES if one in states)
    if words:
        params["q"] = " ".join(words)
    return Filter(params, tuple(faults), tuple(notes))


def _no_field(name: str, word: str) -> str:
    """A misspelt field finds nothing, and must not look as if there were nothing to find."""
    fields = ", ".join(("state", *_NAMES))
    return f"{name} is no field, so {word} is looked for as text; fields are {fields}"


def _instant(value: str, now: datetime | None) -> str | None:
    when = read_since(value, now)
    return None if when is None else when.astimezone(UTC).isoformat().replace("+00:00", "Z")
