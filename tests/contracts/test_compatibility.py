"""Which changes break whom. The tables are the rules of VERSIONS.md, line by line."""

import copy
from typing import Any

import jsonschema_rs
import pytest

from observatory.core.compatibility import Change, Direction, Effect, compare
from observatory.core.openapi_compatibility import compare_openapi

BOTH = {"consumed", "produced"}
CONSUMED = {"consumed"}
PRODUCED = {"produced"}
NOBODY: set[str] = set()

SchemaChange = tuple[str, Any, Any, set[str]]


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "unevaluatedProperties": False,
        **more,
    }


A_TEXT = {"a": {"type": "string"}}
A_AND_B = {"a": {"type": "string"}, "b": {"type": "string"}}
CAT = {
    "type": "object",
    "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
    "required": ["kind"],
}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]}
BIRD = {"type": "object", "properties": {"kind": {"const": "bird"}}, "required": ["kind"]}


def size_changes(keyword: str) -> list[SchemaChange]:
    least, most = f"min{keyword}", f"max{keyword}"
    return [
        (f"{least} raised", {least: 1}, {least: 2}, CONSUMED),
        (f"{least} removed", {least: 1}, {}, PRODUCED),
        (f"{most} lowered", {most: 9}, {most: 8}, CONSUMED),
        (f"{most} removed", {most: 9}, {}, PRODUCED),
    ]


# name, old, new, who breaks
SCHEMA_CHANGES: list[SchemaChange] = [
    ("nothing", {"type": "string"}, {"type": "string"}, NOBODY),
    ("words", {"title": "a", "description": "b"}, {"title": "c", "examples": [1]}, NOBODY),
    ("version only", {"x-version": "1.0.0"}, {"x-version": "1.0.1"}, NOBODY),
    ("property added to a closed object", closed(A_TEXT), closed(A_AND_B), PRODUCED),
    ("property added to an open object", {"properties": A_TEXT}, {"properties": A_AND_B}, CONSUMED),
    ("property named without limits", {"properties": {}}, {"properties": {"a": {}}}, NOBODY),
    ("property removed, closed", closed(A_AND_B), closed(A_TEXT), BOTH),
    ("property removed, open", {"properties": A_AND_B}, {"properties": A_TEXT}, BOTH),
    ("property renamed", closed({"a": {}}), closed({"b": {}}), BOTH),
    ("required added", {"required": ["a"]}, {"required": ["a", "b"]}, CONSUMED),
    ("required removed", {"required": ["a", "b"]}, {"required": ["a"]}, PRODUCED),
    ("type widened", {"type": "integer"}, {"type": "number"}, PRODUCED),
    ("type narrowed", {"type": "number"}, {"type": "integer"}, CONSUMED),
    ("type replaced", {"type": "string"}, {"type": "integer"}, BOTH),
    ("type dropped", {"type": "string"}, {}, PRODUCED),
    ("type demanded", {}, {"type": "string"}, CONSUMED),
    ("made nullable", {"type": "string"}, {"type": ["string", "null"]}, PRODUCED),
    ("made not nullable", {"type": ["string", "null"]}, {"type": "string"}, CONSUMED),
    (
        "made nullable by choice",
        {"$ref": "#/$defs/t", "$defs": {"t": {"type": "string"}}},
        {
            "anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}],
            "$defs": {"t": {"type": "string"}},
        },
        PRODUCED,
    ),
    ("enum narrowed", {"enum": ["a", "b"]}, {"enum": ["a"]}, CONSUMED),
    ("enum widened", {"enum": ["a"]}, {"enum": ["a", "b"]}, PRODUCED),
    ("enum added", {"type": "string"}, {"type": "string", "enum": ["a"]}, CONSUMED),
    ("enum dropped", {"type": "string", "enum": ["a"]}, {"type": "string"}, PRODUCED),
    ("enum order", {"enum": ["a", "b"]}, {"enum": ["b", "a"]}, NOBODY),
    ("const replaced", {"const": 1}, {"const": 2}, BOTH),
    ("const became enum", {"const": 1}, {"enum": [1, 2]}, PRODUCED),
    ("pattern added", {}, {"pattern": "^a"}, CONSUMED),
    ("pattern removed", {"pattern": "^a"}, {}, PRODUCED),
    ("pattern changed", {"pattern": "^a"}, {"pattern": "^b"}, BOTH),
    ("format added", {}, {"format": "uuid"}, CONSUMED),
    ("format removed", {"format": "uuid"}, {}, PRODUCED),
    ("format changed", {"format": "date"}, {"format": "date-time"}, BOTH),
    ("minimum raised", {"minimum": 1}, {"minimum": 2}, CONSUMED),
    ("minimum lowered", {"minimum": 2}, {"minimum": 1}, PRODUCED),
    ("minimum made exclusive", {"minimum": 1}, {"exclusiveMinimum": 1}, CONSUMED),
    ("minimum made inclusive", {"exclusiveMinimum": 1}, {"minimum": 1}, PRODUCED),
    ("minimum removed", {"minimum": 1}, {}, PRODUCED),
    ("maximum lowered", {"maximum": 2}, {"maximum": 1}, CONSUMED),
    ("maximum raised", {"maximum": 1}, {"maximum": 2}, PRODUCED),
    ("maximum made exclusive", {"maximum": 1}, {"exclusiveMaximum": 1}, CONSUMED),
    ("maximum added", {}, {"maximum": 1}, CONSUMED),
    ("multipleOf coarser", {"multipleOf": 5}, {"multipleOf": 10}, CONSUMED),
    ("multipleOf finer", {"multipleOf": 10}, {"multipleOf": 5}, PRODUCED),
    ("multipleOf unrelated", {"multipleOf": 2}, {"multipleOf": 3}, BOTH),
    *size_changes("Length"),
    *size_changes("Items"),
    *size_changes("Properties"),
    ("byte limit lowered", {"x-max-bytes": 9}, {"x-max-bytes": 8}, CONSUMED),
    ("byte limit raised", {"x-max-bytes": 8}, {"x-max-bytes": 9}, PRODUCED),
    ("uniqueItems demanded", {}, {"uniqueItems": True}, CONSUMED),
    ("uniqueItems dropped", {"uniqueItems": True}, {"uniqueItems": False}, PRODUCED),
    ("closed", {"type": "object", "properties": A_TEXT}, closed(A_TEXT), CONSUMED),
    ("opened", closed(A_TEXT), {"type": "object", "properties": A_TEXT}, PRODUCED),
    (
        "closed by another keyword",
        closed(A_TEXT),
        {"type": "object", "properties": A_TEXT, "additionalProperties": False},
        NOBODY,
    ),
    (
        "values of unknown properties narrowed",
        {"additionalProperties": {"type": ["string", "integer"]}},
        {"additionalProperties": {"type": "string"}},
        CONSUMED,
    ),
    ("patternProperties bound", {}, {"patternProperties": {"^x": {"type": "null"}}}, CONSUMED),
    (
        "patternProperties let in",
        {"additionalProperties": False},
        {"additionalProperties": False, "patternProperties": {"^x": {}}},
        PRODUCED,
    ),
    (
        "property added that patternProperties judged",
        {"patternProperties": {"^x": {"type": "null"}}},
        {"patternProperties": {"^x": {"type": "null"}}, "properties": {"x1": {"type": "null"}}},
        BOTH,
    ),
    (
        "property added to a map of one type",
        {"additionalProperties": {"type": "string"}},
        {"additionalProperties": {"type": "string"}, "properties": {"a": {"type": "integer"}}},
        BOTH,
    ),
    ("propertyNames bound", {}, {"propertyNames": {"maxLength": 3}}, CONSUMED),
    ("dependentRequired added", {}, {"dependentRequired": {"a": ["b"]}}, CONSUMED),
    ("dependentSchemas removed", {"dependentSchemas": {"a": {"required": ["b"]}}}, {}, PRODUCED),
    ("items narrowed", {"items": {"type": "number"}}, {"items": {"type": "integer"}}, CONSUMED),
    ("items widened", {"items": {"type": "integer"}}, {"items": {}}, PRODUCED),
    ("items forbidden", {}, {"items": False}, CONSUMED),
    ("prefix added", {}, {"prefixItems": [{"type": "string"}]}, CONSUMED),
    ("prefix removed", {"prefixItems": [{"type": "string"}]}, {}, PRODUCED),
    ("contains added", {}, {"contains": {"const": 1}}, CONSUMED),
    ("contains removed", {"contains": {"const": 1}}, {}, PRODUCED),
    (
        "minContains raised",
        {"contains": {"const": 1}},
        {"contains": {"const": 1}, "minContains": 2},
        CONSUMED,
    ),
    ("anyOf branch added", {"anyOf": [CAT]}, {"anyOf": [CAT, DOG]}, PRODUCED),
    ("anyOf branch removed", {"anyOf": [CAT, DOG]}, {"anyOf": [DOG]}, CONSUMED),
    ("oneOf disjoint branch added", {"oneOf": [CAT, DOG]}, {"oneOf": [CAT, DOG, BIRD]}, PRODUCED),
    ("oneOf branch removed", {"oneOf": [CAT, DOG, BIRD]}, {"oneOf": [CAT, DOG]}, CONSUMED),
    (
        "oneOf branch added that may overlap",
        {"oneOf": [{"type": "string"}]},
        {"oneOf": [{"type": "string"}, {"minLength": 3}]},
        BOTH,
    ),
    ("allOf branch added", {"allOf": [CAT]}, {"allOf": [CAT, {"required": ["a"]}]}, CONSUMED),
    ("allOf branch removed", {"allOf": [CAT, {"required": ["a"]}]}, {"allOf": [CAT]}, PRODUCED),
    ("allOf added", {"type": "object"}, {"type": "object", "allOf": [CAT]}, CONSUMED),
    ("branches in another order", {"anyOf": [CAT, DOG]}, {"anyOf": [DOG, CAT]}, NOBODY),
    ("not added", {}, {"not": {"const": 1}}, CONSUMED),
    ("not removed", {"not": {"const": 1}}, {}, PRODUCED),
    ("not narrowed", {"not": {"enum": [1, 2]}}, {"not": {"enum": [1]}}, PRODUCED),
    ("not widened", {"not": {"enum": [1]}}, {"not": {"enum": [1, 2]}}, CONSUMED),
    ("condition added", {}, {"if": {"required": ["a"]}, "then": {"required": ["b"]}}, CONSUMED),
    ("condition changed", {"if": CAT, "then": False}, {"if": DOG, "then": False}, BOTH),
    (
        "consequence narrowed",
        {"if": CAT, "then": {"required": ["a"]}},
        {"if": CAT, "then": {"required": ["a", "b"]}},
        CONSUMED,
    ),
    (
        "reference to a narrower target",
        {"$ref": "#/$defs/n", "$defs": {"n": {"minimum": 0}}},
        {"$ref": "#/$defs/n", "$defs": {"n": {"minimum": 1}}},
        CONSUMED,
    ),
    (
        "reference to an equal target elsewhere",
        {"$ref": "#/$defs/n", "$defs": {"n": {"minimum": 0}}},
        {"$ref": "#/$defs/m", "$defs": {"n": {"minimum": 0}, "m": {"minimum": 0}}},
        NOBODY,
    ),
    ("reference nobody can follow", {"$ref": "https://a/x"}, {"$ref": "https://a/y"}, BOTH),
    ("same reference nobody can follow", {"$ref": "https://a/x"}, {"$ref": "https://a/x"}, NOBODY),
    (
        "property added behind a reference of a closed object",
        {"$ref": "#/$defs/f", "unevaluatedProperties": False, "$defs": {"f": {"properties": {}}}},
        {
            "$ref": "#/$defs/f",
            "unevaluatedProperties": False,
            "$defs": {"f": {"properties": A_TEXT}},
        },
        PRODUCED,
    ),
    ("definition removed", {"$defs": {"a": {}}}, {"$defs": {}}, BOTH),
    ("definition added", {}, {"$defs": {"a": {"type": "string"}}}, NOBODY),
    ("default changed", {"default": 1}, {"default": 2}, CONSUMED),
    ("default removed", {"default": 1}, {}, CONSUMED),
    ("default added", {}, {"default": 1}, NOBODY),
    (
        "default beside a reference changed",
        {"$ref": "#/$defs/n", "default": 1, "$defs": {"n": {}}},
        {"$ref": "#/$defs/n", "default": 2, "$defs": {"n": {}}},
        CONSUMED,
    ),
    ("forbidden altogether", {}, False, CONSUMED),
    ("allowed at last", False, True, PRODUCED),
    ("unknown keyword added", {}, {"x-colour": "red"}, BOTH),
    ("unknown keyword changed", {"contentEncoding": "base64"}, {"contentEncoding": "hex"}, BOTH),
    ("direction turned round", {"x-direction": "consumed"}, {"x-direction": "produced"}, BOTH),
    (
        "deep inside",
        closed({"a": {"type": "array", "items": {"properties": {"b": {"maximum": 2}}}}}),
        closed({"a": {"type": "array", "items": {"properties": {"b": {"maximum": 1}}}}}),
        CONSUMED,
    ),
]


def broken_by(old: Any, new: Any) -> set[str]:
    directions: tuple[Direction, ...] = ("consumed", "produced")
    return {one for one in directions if any(c.breaking for c in compare(old, new, one))}


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [row[1:] for row in SCHEMA_CHANGES],
    ids=[row[0].replace(" ", "-") for row in SCHEMA_CHANGES],
)
def test_a_schema_change_breaks_whom_the_table_says(old: Any, new: Any, breaks: set[str]) -> None:
    assert broken_by(old, new) == breaks


@pytest.mark.parametrize("schema", [row[1] for row in SCHEMA_CHANGES])
def test_a_schema_does_not_differ_from_itself(schema: Any) -> None:
    assert compare(schema, copy.deepcopy(schema), "consumed") == []


INSTANCES: list[Any] = [
    *(None, True, 0, 1, 1.5, 2, 6, 10, "", "a", "ab", "b", "bab", "xyz", "2026-01-01"),
    *([], [1], [1, 1], [1, 2], ["a"], ["a", 1], [None], [{"b": 2}], list(range(12))),
    *({}, {"a": "x"}, {"a": 1}, {"b": "x"}, {"a": "x", "b": "y"}, {"x1": 1}, {"x1": None}),
    *({"kind": "cat"}, {"kind": "dog"}, {"kind": "bird"}, {"kind": "cat", "lives": "x"}),
    *({"kind": "cat", "a": 1}, {"kind": "cat", "a": 1, "b": 1}, {"abcd": 1}, {"a": [{"b": 2}]}),
]


def test_no_change_that_an_instance_proves_breaking_goes_unseen() -> None:
    """Every schema of the table against every other, judged by a real validator."""
    schemas = [schema for row in SCHEMA_CHANGES for schema in row[1:3] if resolvable(schema)]
    verdicts = [
        tuple(
            jsonschema_rs.is_valid(one, instance, draft=jsonschema_rs.Draft202012)
            for instance in INSTANCES
        )
        for one in schemas
    ]
    for old, valid_before in zip(schemas, verdicts, strict=True):
        for new, valid_after in zip(schemas, verdicts, strict=True):
            pairs = list(zip(valid_before, valid_after, strict=True))
            if (True, False) in pairs:
                assert any(c.breaking for c in compare(old, new, "consumed")), (old, new)
            if (False, True) in pairs:
                assert any(c.breaking for c in compare(old, new, "produced")), (old, new)


def resolvable(schema: Any) -> bool:
    return "https://a/" not in str(schema)


def test_a_change_tells_where_it_is_and_what_it_means() -> None:
    old = closed({"a/b": {"type": "array", "items": {"maxLength": 9}}})
    new = closed({"a/b": {"type": "array", "items": {"maxLength": 8}}})

    [change] = compare(old, new, "consumed")

    assert change == Change(
        "/properties/a~1b/items/maxLength",
        Effect.NARROWED,
        breaking=True,
        message="maxLength went from 9 to 8",
    )
    assert str(change) == ("breaking: /properties/a~1b/items/maxLength: maxLength went from 9 to 8")


def test_a_change_in_another_document_is_seen_through_a_reference() -> None:
    user = {"$id": "https://c/user.json", "properties": {"q": {"$ref": "words.json#/$defs/q"}}}

    def documents(pattern: str) -> dict[str, Any]:
        return {"https://c/words.json": {"$defs": {"q": {"pattern": pattern}}}}

    changes = compare(
        user,
        user,
        "produced",
        old_documents=documents("^a"),
        new_documents=documents("^b"),
    )

    assert [change.pointer for change in changes if change.breaking] == ["/properties/q/pattern"]


def test_a_schema_that_refers_to_itself_is_compared_once() -> None:
    def tree(leaf: str) -> dict[str, Any]:
        return {
            "properties": {"leaf": {"type": leaf}, "children": {"items": {"$ref": "#"}}},
        }

    changes = compare(tree("string"), tree("integer"), "consumed")

    assert any(change.breaking for change in changes)
    assert len(changes) < 10


def test_a_reference_to_itself_alone_does_not_hang() -> None:
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}

    assert compare(loop, loop, "consumed") == []


# ------------------------------------------------------------------------ OpenAPI


def api() -> dict[str, Any]:
    """A small document with one of everything."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1.0.0"},
        "security": [{"bearer": []}],
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "parameters": {
                "Limit": {
                    "name": "limit",
                    "in": "query",
                    "schema": {"type": "integer", "maximum": 200},
                }
            },
            "responses": {
                "Bad": {"description": "b", "content": {"application/problem+json": {"schema": {}}}}
            },
        },
        "paths": {
            "/jobs/{id}": {
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "get": {
                    "operationId": "getJob",
                    "parameters": [{"$ref": "#/components/parameters/Limit"}],
                    "responses": {
                        "200": {
                            "description": "ok",
                            "headers": {"Age": {"required": True, "schema": {"type": "integer"}}},
                            "content": {
                                "application/json": {
                                    "schema": {
                                        "type": "object",
                                        "properties": {"id": {"type": "string"}},
                                        "required": ["id"],
                                    }
                                }
                            },
                        },
                        "400": {"$ref": "#/components/responses/Bad"},
                    },
                },
                "post": {
                    "operationId": "postJob",
                    "requestBody": {
                        "content": {
                            "application/json": {"schema": {"type": "object", "maxProperties": 9}},
                            "application/x-ndjson": {"schema": {"type": "string"}},
                        }
                    },
                    "responses": {"202": {"description": "ok"}},
                },
            }
        },
    }


def put(document: dict[str, Any], *path_and_value: Any) -> dict[str, Any]:
    *path, last, value = path_and_value
    target = document
    for name in path:
        target = target[name]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return document


REMOVED = object()
JOB = ("paths", "/jobs/{id}")
GET = (*JOB, "get")
POST = (*JOB, "post")
OK = (*GET, "responses", "200")
OK_SCHEMA = (*OK, "content", "application/json", "schema")
LIMIT = ("components", "parameters", "Limit")
OPTIONAL = {"name": "q", "in": "query", "schema": {"type": "string"}}
JSON_BODY = {"application/json": {"schema": {"type": "object"}}}

# name, change to the document, whether it breaks
API_CHANGES: list[tuple[str, tuple[Any, ...], bool]] = [
    ("words", (*GET, "summary", "s"), False),
    ("document words", ("info", "title", "u"), False),
    ("path removed", (*JOB, REMOVED), True),
    ("path added", ("paths", "/new", {"get": {"operationId": "n", "responses": {}}}), False),
    ("operation removed", (*POST, REMOVED), True),
    ("operation added", (*JOB, "put", {"operationId": "p", "responses": {}}), False),
    ("operation renamed", (*GET, "operationId", "other"), True),
    ("parameter removed", (*GET, "parameters", []), True),
    ("parameter added", (*POST, "parameters", [OPTIONAL]), False),
    ("required parameter added", (*POST, "parameters", [{**OPTIONAL, "required": True}]), True),
    ("parameter became required", (*LIMIT, "required", True), True),
    ("parameter narrowed", (*LIMIT, "schema", "maximum", 100), True),
    ("parameter widened", (*LIMIT, "schema", "maximum", 300), False),
    ("parameter style changed", (*LIMIT, "explode", True), True),
    ("body became required", (*POST, "requestBody", "required", True), True),
    ("body removed", (*POST, "requestBody", REMOVED), True),
    ("body demanded", (*GET, "requestBody", {"required": True, "content": JSON_BODY}), True),
    ("body may be sent", (*GET, "requestBody", {"content": JSON_BODY}), False),
    (
        "body media type removed",
        (*POST, "requestBody", "content", "application/x-ndjson", REMOVED),
        True,
    ),
    ("body media type added", (*POST, "requestBody", "content", "text/csv", {}), False),
    (
        "body narrowed",
        (*POST, "requestBody", "content", "application/json", "schema", "maxProperties", 8),
        True,
    ),
    ("response removed", (*GET, "responses", "400", REMOVED), True),
    ("error status added", (*GET, "responses", "404", {"description": "n"}), False),
    ("success status added", (*GET, "responses", "207", {"description": "n"}), True),
    ("response media type removed", (*OK, "content", "application/json", REMOVED), True),
    ("response media type added", (*OK, "content", "text/csv", {}), False),
    ("response widened", (*OK_SCHEMA, "required", []), True),
    ("response property removed", (*OK_SCHEMA, "properties", {}), True),
    (
        "response property added",
        (*OK_SCHEMA, "properties", "new", {"type": "string"}),
        False,
    ),
    ("response header removed", (*OK, "headers", "Age", REMOVED), True),
    ("response header optional", (*OK, "headers", "Age", "required", False), True),
    ("response header widened", (*OK, "headers", "Age", "schema", "type", "string"), True),
    ("response header added", (*OK, "headers", "ETag", {"schema": {}}), False),
    ("security replaced", (*GET, "security", [{"oauth": []}]), True),
    ("security scope demanded", (*GET, "security", [{"bearer": ["admin"]}]), True),
    ("security made optional", (*GET, "security", [{"bearer": []}, {}]), False),
    ("security dropped", (*GET, "security", []), False),
    ("unknown field", (*GET, "x-rate", 3), True),
    ("dialect changed", ("jsonSchemaDialect", "https://other"), True),
]


@pytest.mark.parametrize(
    ("change", "breaks"),
    [row[1:] for row in API_CHANGES],
    ids=[row[0].replace(" ", "-") for row in API_CHANGES],
)
def test_an_api_change_breaks_as_the_table_says(change: tuple[Any, ...], breaks: bool) -> None:
    changes = compare_openapi(api(), put(api(), *change), "https://c/api.json")

    assert any(one.breaking for one in changes) is breaks


def test_an_api_does_not_differ_from_itself() -> None:
    assert compare_openapi(api(), api(), "https://c/api.json") == []
