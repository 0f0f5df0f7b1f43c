"""What one schema says, read into values that can be compared.

Rules of this file: every function looks at one schema alone, follows no reference, and answers for
JSON Schema 2020-12.
"""

import json
from typing import Any, Final

Json = Any
Schema = dict[str, Any]

ANNOTATIONS: Final = frozenset(
    {
        *("title", "description", "$comment", "examples", "example", "deprecated"),
        *("readOnly", "writeOnly", "$schema", "$id", "x-version"),
    }
)
"""Keywords that say nothing about which values are valid."""

_NEUTRAL: Final = ANNOTATIONS | {"default", "$defs"}
"""These beside a keyword do not judge either, though they are compared."""

APPLICATORS_IN_PLACE: Final = frozenset(
    {"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"}
)
"""Keywords whose subschemas judge the same value: only they set the two ways to close apart."""

_ATOMS: Final = frozenset({"null", "boolean", "object", "array", "string", "integer", "fraction"})
"""JSON's types, "number" taken apart so that "integer" is a part of it."""


def as_object(schema: Json) -> Schema:
    """`true` and `false` in their object form."""
    if schema is True:
        return {}
    return {"not": {}} if schema is False else schema


def is_never(schema: Schema) -> bool:
    """Whether no value is valid."""
    return "not" in schema and as_object(schema["not"]) == {}


def is_plain_reference(schema: Json) -> bool:
    """Whether it is a reference and nothing else that judges."""
    return (
        isinstance(schema, dict) and "$ref" in schema and not schema.keys() - _NEUTRAL - {"$ref"}  # pyright: ignore[reportUnknownMemberType]
    )


def is_closed(schema: Schema) -> bool:
    """Whether it refuses properties it does not name."""
    return any(
        schema.get(keyword) is False
        for keyword in ("additionalProperties", "unevaluatedProperties")
    )


def one_closing_keyword(schema: Schema) -> Schema:
    """Without applicators the two keywords mean the same; say it with one of them."""
    if APPLICATORS_IN_PLACE.isdisjoint(schema) and "unevaluatedProperties" in schema:
        policy = schema.get("additionalProperties", schema["unevaluatedProperties"])
        return {"additionalProperties": policy}
    return schema


def same_shape(old: Schema, new: Schema) -> tuple[Schema, Schema]:
    """Where one side became a choice (made nullable, say), make the other a choice of one."""
    for keyword in ("anyOf", "oneOf"):
        if _is_choice(new, keyword) and keyword not in old:
            return {**_neutral_part(old), keyword: [_judging_part(old)]}, new
        if _is_choice(old, keyword) and keyword not in new:
            return old, {**_neutral_part(new), keyword: [_judging_part(new)]}
    return old, new


def _is_choice(schema: Schema, keyword: str) -> bool:
    return keyword in schema and not schema.keys() - _NEUTRAL - {keyword}


def _neutral_part(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in _NEUTRAL}


def _judging_part(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in _NEUTRAL}


def types_of(schema: Schema) -> frozenset[str]:
    """The types it lets through; where it names values only, theirs."""
    given = schema.get("type")
    if given is None:
        values = _raw_values(schema)
        return _ATOMS if values is None else frozenset(map(_type_of_value, values))
    names: list[str] = [given] if isinstance(given, str) else given
    atoms = {"number": ("integer", "fraction")}
    return frozenset(atom for name in names for atom in atoms.get(name, (name,)))


def _type_of_value(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "fraction"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _raw_values(schema: Schema) -> list[Json] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def values_of(schema: Schema) -> frozenset[str] | None:
    """The values it lets through as JSON text, None where it does not list them."""
    values = _raw_values(schema)
    return None if values is None else frozenset(json.dumps(one, sort_keys=True) for one in values)


_Bound = tuple[float, bool]


def lowest(schema: Schema) -> _Bound:
    """The lowest number and whether it is left out, so that a greater pair is narrower."""
    inclusive: _Bound = (schema.get("minimum", float("-inf")), False)
    return max(
        inclusive, (schema.get("exclusiveMinimum", float("-inf")), "exclusiveMinimum" in schema)
    )


def highest(schema: Schema) -> _Bound:
    """The highest number and whether it is within, so that a lesser pair is narrower."""
    inclusive: _Bound = (schema.get("maximum", float("inf")), True)
    outside = "exclusiveMaximum" not in schema
    return min(inclusive, (schema.get("exclusiveMaximum", float("inf")), outside))


def disjoint(one: Schema, other: Schema) -> bool:
    """Whether it is plain that no value is valid under both: by type, or by a property's value."""
    if not types_of(one) & types_of(other):
        return True
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    for name in shared:
        first, second = (
            values_of(as_object(each.get("properties", {}).get(name, True)))
            for each in (one, other)
        )
        if first is not None and second is not None and not first & second:
            return True
    return False
