"""The contracts as written: sound, agreed on by two validators, in step with the code."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
import referencing

from observatory.core import errors, job_type, lifecycle
from observatory.core.contract_references import CONTRACTS_URI, walk
from observatory.core.contract_tree import (
    bundled,
    check,
    openapi_paths,
    schema_paths,
    validator,
)
from observatory.core.instant import from_rfc3339
from observatory.settings.contract_files import load

TREE = load()
EXAMPLES = sorted(path for path in TREE if path.startswith("examples/"))
EVENT_PATHS = [path for path in schema_paths(TREE) if path.startswith("events/")]
JOB_WORDS = TREE["job.v1.json"]["$defs"]


def schema_of(example: str) -> tuple[str, bool]:
    """The schema an example belongs to, and whether it is meant to be valid."""
    _, kind, *folders, _ = example.split("/")
    return "/".join(folders) + ".json", kind == "valid"


def second_opinion(path: str) -> Callable[[Any], bool]:
    """Judges by the same schema in python-jsonschema, which fetches nothing either."""
    documents = ((CONTRACTS_URI + one, TREE[one]) for one in schema_paths(TREE))
    resources = [(uri, referencing.Resource[Any].from_contents(one)) for uri, one in documents]
    registry = referencing.Registry[Any]().with_resources(resources)
    formats = jsonschema.FormatChecker(["uuid"])
    formats.checks("date-time", raises=ValueError)(is_date_time)
    judge = jsonschema.Draft202012Validator(TREE[path], registry=registry, format_checker=formats)
    return lambda value: not list(judge.iter_errors(value))  # pyright: ignore[reportUnknownMemberType]


def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(from_rfc3339(value))


def test_the_tree_is_sound() -> None:
    assert [str(fault) for fault in check(TREE)] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_both_validators_judge_an_example_as_its_folder_says(example: str) -> None:
    path, meant_valid = schema_of(example)

    assert validator(TREE, path).is_valid(TREE[example]) is meant_valid
    assert second_opinion(path)(TREE[example]) is meant_valid


@pytest.mark.parametrize("path", schema_paths(TREE))
def test_a_schema_is_valid_by_the_second_opinion_too(path: str) -> None:
    jsonschema.Draft202012Validator.check_schema(TREE[path])


@pytest.mark.parametrize("path", openapi_paths(TREE))
def test_an_openapi_document_that_stands_alone_is_valid_openapi(path: str) -> None:
    document = bundled(TREE, path)

    openapi_spec_validator.validate(document)
    references = [value for at, value in walk(document) if at.endswith("/$ref")]
    assert all(reference.startswith("#/") for reference in references)


@pytest.mark.parametrize("path", [*EVENT_PATHS, "envelope.v1.json", "job.v1.json"])
def test_what_is_emitted_is_open_to_new_members(path: str) -> None:
    examples = [one for one in EXAMPLES if schema_of(one) == (path, True)]

    assert all(
        validator(TREE, path).is_valid({**TREE[one], "fromthefuture": "x"}) for one in examples
    )


@pytest.mark.parametrize("path", openapi_paths(TREE))
def test_every_request_body_of_the_apis_is_a_consumed_contract(path: str) -> None:
    bodies = [
        content["schema"]["$ref"]
        for operation in operations(path)
        for media, content in operation.get("requestBody", {"content": {}})["content"].items()
        if media == "application/json"
    ]

    assert {TREE[body.removeprefix("../")]["x-direction"] for body in bodies} <= {"consumed"}


@pytest.mark.parametrize("path", openapi_paths(TREE))
def test_every_error_is_answered_with_a_problem(path: str) -> None:
    document = TREE[path]
    for operation in operations(path):
        for status, response in operation["responses"].items():
            if status >= "400" and "$ref" in response:
                name = response["$ref"].rpartition("/")[2]
                content = document["components"]["responses"][name]["content"]
                assert list(content) == ["application/problem+json"]
            elif status >= "400":
                assert operation["tags"] == ["operations"], "only health answers otherwise"


def test_every_schema_under_http_is_used_by_an_api() -> None:
    used = {
        value.partition("#")[0].removeprefix("../")
        for path in openapi_paths(TREE)
        for at, value in walk(TREE[path])
        if at.endswith("/$ref")
    }
    named_in_words = {"http/batch-item.v1.json", "http/stream-reset.v1.json"}

    http = {path for path in schema_paths(TREE) if path.startswith("http/")}
    assert http - used == named_in_words


def test_the_words_of_the_contracts_are_the_words_of_the_code() -> None:
    assert JOB_WORDS["state"]["enum"] == [state.value for state in lifecycle.State]
    assert JOB_WORDS["priority"]["enum"] == list(job_type.PRIORITIES)
    for name, pattern in {
        "jobType": job_type.JOB_TYPE_PATTERN,
        "queue": job_type.QUEUE_PATTERN,
    }.items():
        assert JOB_WORDS[name]["pattern"] == f"^{pattern.pattern}$"


def test_every_event_tells_a_move_that_the_lifecycle_allows() -> None:
    for path in EVENT_PATHS:
        properties = TREE[path]["properties"]
        if "state" in properties and "const" in properties["state"]:
            state = properties["state"]["const"]
            previous = properties["previousState"].get("enum", [])
            for before in previous:
                assert state in lifecycle.TRANSITIONS[before].values(), path


def test_every_problem_of_the_code_is_documented_with_its_status() -> None:
    responses = TREE["openapi/gateway.v1.json"]["components"]["responses"]
    documented = {
        (problem["status"], slug)
        for response in responses.values()
        for problem in shown(response)
        for slug in re.findall(r"`([a-z-]+)`", response["description"])
    }

    assert {(one.status, one.slug) for one in errors.Problem.__subclasses__()} <= documented


def test_examples_of_the_envelope_carry_data_their_dataschema_accepts() -> None:
    for example in EXAMPLES:
        if schema_of(example) == ("envelope.v1.json", True):
            path = TREE[example]["dataschema"].removeprefix(CONTRACTS_URI)
            assert validator(TREE, path).is_valid(TREE[example]["data"]), example


def test_no_own_event_example_is_larger_than_the_limit() -> None:
    limit = TREE["envelope.v1.json"]["x-max-bytes"]

    sizes = [len(json.dumps(TREE[one])) for one in EXAMPLES if schema_of(one)[1]]
    assert limit == 64 * 1024
    assert max(sizes) <= limit


def shown(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for content in response["content"].values():
        yield from (example["value"] for example in content["examples"].values())


def operations(path: str) -> Iterator[dict[str, Any]]:
    for item in TREE[path]["paths"].values():
        yield from (item[method] for method in ("get", "post") if method in item)
