"""Forms of text: whoever sends another is told in words what would be right."""

from collections.abc import Iterator
from typing import Any

import pytest

from observatory import Observatory
from observatory.core import form
from observatory.core.contracts import Contract
from observatory.core.errors import ConfigurationError
from observatory.settings import contract_files

TREE = contract_files.load()
DOCUMENTS = {d["$id"]: d for d in TREE.values() if isinstance(d, dict) and "$id" in d}
BASE = "https://observatory.example/contracts/http/"
BODIES = [
    Contract(DOCUMENTS[f"{BASE}{name}.v1.json"], DOCUMENTS)
    for name in ("job-submission", "batch-item", "cancel-request", "retry-request")
]

WRONG = {
    "type": ("1 bad", "a job type's name: a letter, then up to 127 letters, digits or . _ -"),
    "queue": ("a b", "a queue's name: a letter or digit, then up to 62 letters, digits or . _ -"),
    "correlationId": ("a b", "1 to 128 visible ASCII characters, without spaces"),
    "parentId": ("me", "a job's id, a UUID of version 7"),
    "scheduledAt": ("soon", "an RFC 3339 time with an offset, of the years 1970 to 2999"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("body", BODIES[:2], ids=["job", "item"])
def test_a_member_of_another_form_is_refused_in_words(body: Contract, name: str) -> None:
    text, words = WRONG[name]

    faults = body.faults({"type": "work"} | {name: text})

    details = [fault.detail for fault in faults if fault.pointer == f"/{name}"]
    assert any(detail.startswith(f"must be {words}") for detail in details), details
    assert not any("does not match" in detail for detail in details), details


def test_an_idempotency_key_of_another_form_is_refused_in_words() -> None:
    (fault,) = BODIES[1].faults({"type": "work", "idempotencyKey": "a b"})

    assert fault.detail == f"must be {form.IDEMPOTENCY_KEY.words}"


def patterns(schema: Any, seen: set[str]) -> Iterator[str]:
    """Every pattern that a schema asks for, through its references."""
    if isinstance(schema, list):
        for inner in schema:
            yield from patterns(inner, seen)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        seen.add(reference)
        file, _, at = reference.partition("#/")
        target: Any = TREE[f"http/{file}" if not file.startswith("../") else file[3:]]
        for token in at.split("/") if at else []:
            target = target[token]
        yield from patterns(target, seen)
    for name, inner in schema.items():
        if name != "$defs":
            yield from patterns(inner, seen)


def test_every_pattern_a_body_is_held_to_has_words() -> None:
    asked = {
        pattern
        for name in ("job-submission", "batch-item", "cancel-request", "retry-request")
        for pattern in patterns(TREE[f"http/{name}.v1.json"], set())
    }

    assert len(asked) == 6
    assert [pattern for pattern in asked if form.words_of(pattern) is None] == []


def test_a_pattern_of_a_job_types_own_is_told_as_it_stands() -> None:
    contract = Contract({"properties": {"code": {"pattern": "^[A-Z]{3}$"}}})

    (fault,) = contract.faults({"code": "x"})

    assert "^[A-Z]{3}$" in fault.detail


@pytest.mark.parametrize(
    ("name", "queue", "words"),
    [
        ("a b", "default", "is not a job type's name: a letter, then up to 127"),
        ("work\n", "default", "is not a job type's name: a letter, then up to 127"),
        ("work", "-q", "is not a queue's name: a letter or digit, then up to 62"),
        ("work", "q\n", "is not a queue's name: a letter or digit, then up to 62"),
    ],
)
def test_names_are_refused_in_words_when_registered(name: str, queue: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Observatory().job(name, queue=queue)(lambda: None)

    assert words in str(refused.value)
    assert "A-Z" not in str(refused.value)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "https://elsewhere.example/"}])
def test_a_schema_that_cannot_be_used_is_refused_when_registered(schema: dict[str, Any]) -> None:
    app = Observatory()

    with pytest.raises(
        ConfigurationError, match=r"job type work: .*not a usable JSON Schema"
    ) as refused:
        app.job("work", payload_schema=schema)(lambda **payload: None)

    assert "\n" not in str(refused.value)
    assert app.handlers == {}
