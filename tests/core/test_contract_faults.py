"""What a refusal says: one fault for each thing that is wrong, where it is wrong."""

from typing import Any

from observatory.core.contracts import Contract

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "one": {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "null"}]},
        "mixed": {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "array", "minItems": 1}]},
        "when": {"type": "string", "format": "date-time", "pattern": "^[0-9]"},
    },
    "additionalProperties": False,
    "not": {"required": ["n", "when"]},
    "$defs": {"Inner": {"type": "object", "properties": {"q": {"type": "integer"}}}},
}


def faults(instance: Any) -> list[tuple[str, str]]:
    return [tuple(fault) for fault in Contract(SCHEMA).faults(instance, "/payload")]


def test_each_unknown_member_is_pointed_at() -> None:
    assert faults({"bogus": 1, "a/b": 2}) == [
        ("/payload/bogus", "is not a known member"),
        ("/payload/a~1b", "is not a known member"),
    ]


def test_a_choice_with_null_tells_what_is_wrong_with_the_other() -> None:
    assert faults({"maybe": "x"}) == [("/payload/maybe", '"x" is not of type "integer"')]
    assert faults({"one": {"q": "x"}}) == [("/payload/one/q", '"x" is not of type "integer"')]


def test_a_choice_of_types_names_them() -> None:
    assert faults({"either": []}) == [
        ("/payload/either", "is of none of the types integer, string")
    ]


def test_a_choice_of_shapes_is_one_fault() -> None:
    ((pointer, detail),) = faults({"mixed": []})
    assert pointer == "/payload/mixed"
    assert "not valid under any" in detail


def test_a_text_of_the_wrong_form_is_told_once() -> None:
    assert [pointer for pointer, _ in faults({"when": "yesterday"})] == ["/payload/when"]


def test_of_a_value_of_the_wrong_type_nothing_else_is_said() -> None:
    assert faults([]) == [("/payload", '[] is not of type "object"')]


def test_members_that_exclude_each_other_are_named() -> None:
    assert faults({"n": 1, "when": "2026-01-01T00:00:00Z"}) == [
        ("/payload", "must not have n and when together")
    ]
