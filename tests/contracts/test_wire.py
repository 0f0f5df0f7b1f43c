"""What the code says of the wire equals what the contracts say."""

import re
from typing import Any

import msgspec
import pytest

from observatory.core.errors import PROBLEM_BASE, Problem
from observatory.core.event import Event
from observatory.core.job_type import JOB_TYPE_PATTERN, PRIORITIES, QUEUE_PATTERN
from observatory.core.lifecycle import State
from observatory.settings import contract_files

TREE = contract_files.load()


def definition(name: str) -> dict[str, Any]:
    return TREE["job.v1.json"]["$defs"][name]


def test_the_envelope_in_code_has_the_members_of_the_contract() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(Event)}
    assert fields == set(TREE["envelope.v1.json"]["properties"])


def test_what_the_contract_requires_of_an_envelope_is_always_sent() -> None:
    bare = Event(id="i", source="/s", type="t.t", subject="s", time="t", dataschema="d", data={})
    assert set(TREE["envelope.v1.json"]["required"]) <= set(msgspec.to_builtins(bare))


def test_states_and_priorities_are_those_of_the_contract() -> None:
    assert definition("state")["enum"] == list(State)
    assert definition("priority")["enum"] == list(PRIORITIES)


@pytest.mark.parametrize(
    ("name", "pattern"), [("jobType", JOB_TYPE_PATTERN), ("queue", QUEUE_PATTERN)]
)
def test_names_have_the_form_of_the_contract(name: str, pattern: re.Pattern[str]) -> None:
    assert definition(name)["pattern"] == f"^{pattern.pattern}$"


def test_every_problem_in_code_is_one_the_contract_allows() -> None:
    form = re.compile(TREE["http/problem.v1.json"]["properties"]["type"]["pattern"])
    kinds = [Problem, *Problem.__subclasses__()]
    assert len(kinds) > 15
    for kind in kinds:
        assert form.search(PROBLEM_BASE + kind.slug), kind
        assert 400 <= kind.status < 600
