"""Each kind of fault is found in a tree that has exactly that one, read back from disk."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import observatory
from observatory.core import contract_tree
from observatory.core.contract_tree import DIALECT, Fault, bundled, check, check_against
from observatory.core.errors import ConfigurationError
from observatory.settings import contract_files
from observatory.settings.contract_files import default_directory, load

BASE = "https://observatory.example/contracts/"
Tree = dict[str, Any]
ORDER = "http/order.v1.json"
PLACED = "events/placed.v1.json"
API = "openapi/shop.v1.json"


def schema(path: str, direction: str, **keywords: Any) -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "$id": BASE + path,
        "title": path,
        "description": "An example.",
        "x-version": "1.2.3",
        "x-direction": direction,
        **keywords,
    }


def sound_tree() -> Tree:
    """A command, an event that shares a definition with it, an API, examples, and the table."""
    tree: Tree = {
        ORDER: schema(
            ORDER,
            "consumed",
            type="object",
            properties={"count": {"$ref": "../events/placed.v1.json#/$defs/count"}},
            required=["count"],
            unevaluatedProperties=False,
        ),
        PLACED: schema(
            PLACED,
            "produced",
            type="object",
            properties={"count": {"$ref": "#/$defs/count"}},
            required=["count"],
            **{"$defs": {"count": {"type": "integer", "minimum": 1}}},
        ),
        API: {
            "openapi": "3.1.0",
            "info": {"title": "Shop", "version": "1.0.0"},
            "security": [{"bearer": []}],
            "paths": {
                "/orders/{id}": {
                    "post": {
                        "operationId": "order",
                        "parameters": [{"$ref": "#/components/parameters/Id"}],
                        "requestBody": {
                            "content": {
                                "application/json": {
                                    "schema": {"$ref": "../http/order.v1.json"},
                                    "examples": {"one": {"value": {"count": 1}}},
                                }
                            }
                        },
                        "responses": {"202": {"description": "placed"}},
                    }
                }
            },
            "components": {
                "parameters": {
                    "Id": {
                        "name": "id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                        "example": "7",
                    }
                },
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        },
        "VERSIONS.md": f"| path | version |\n|---|---|\n| `{ORDER}` | 1.2.3 | x |\n"
        f"| `{PLACED}` | 1.2.3 | x |\n| `{API}` | 1.0.0 | x |\n",
    }
    for path in (ORDER, PLACED):
        stem = path.removesuffix(".json")
        tree[f"examples/valid/{stem}/one.json"] = {"count": 1}
        tree[f"examples/invalid/{stem}/none.json"] = {}
        tree[f"examples/invalid/{stem}/zero.json"] = {"count": 0}
    return tree


def through_disk(tree: Tree, directory: Path) -> Tree:
    for path, document in tree.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document if path.endswith(".md") else json.dumps(document))
    return load(directory)


def put(*path_and_value: Any) -> Callable[[Tree], None]:
    """A change to a tree: the names that lead there, then the value."""
    *path, last, value = path_and_value

    def change(tree: Tree) -> None:
        target: Any = tree
        for name in path:
            target = target[name]
        target[last] = value

    return change


def drop(*path: Any) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        target: Any = tree
        for name in path[:-1]:
            target = target[name]
        del target[path[-1]]

    return change


def listed_as(old: str, new: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        tree["VERSIONS.md"] = tree["VERSIONS.md"].replace(old, new)

    return change


OPERATION = (API, "paths", "/orders/{id}", "post")
BODY = (*OPERATION, "requestBody", "content", "application/json")

# name, change, where the fault is, words of its message
BROKEN_TREES: list[tuple[str, Callable[[Tree], None], str, str]] = [
    ("not an object", put(ORDER, 7), ORDER, "JSON object"),
    ("other dialect", put(ORDER, "$schema", "http://json-schema.org/draft-07/schema#"), ORDER,
     "2020-12"),
    ("other id", put(ORDER, "$id", BASE + "http/other.v1.json"), ORDER, "must be https"),
    ("no title", drop(ORDER, "title"), ORDER, "must say something"),
    ("empty description", put(ORDER, "description", " "), ORDER, "must say something"),
    ("no direction", drop(ORDER, "x-direction"), ORDER, "consumed (commands) or produced"),
    ("open command", drop(ORDER, "unevaluatedProperties"), ORDER, "commands are closed"),
    ("no version", drop(ORDER, "x-version"), ORDER, "semantic version"),
    ("odd version", put(ORDER, "x-version", "1.2"), ORDER, "semantic version"),
    ("other major", put(ORDER, "x-version", "2.0.0"), ORDER, "file is named v1"),
    ("unversioned name", put("http/thing.json", {}), "http/thing.json", "must be named"),
    ("not a schema", put(ORDER, "minLength", -1), ORDER, "not JSON Schema 2020-12"),
    ("unknown type", put(ORDER, "properties", "count", {"type": "int"}), ORDER, "not JSON Schema"),
    ("bad pattern", put(ORDER, "properties", "count", {"pattern": "["}), ORDER, "regex"),
    ("reference to no file", put(ORDER, "properties", "count", "$ref", "nope.v1.json"), ORDER,
     "not a contract"),
    ("reference to nothing in a file", put(ORDER, "properties", "count", "$ref", "#/$defs/no"),
     ORDER, "nothing at /$defs/no"),
    ("reference to the network", put(ORDER, "properties", "count", "$ref", "https://json.org/x"),
     ORDER, "not a contract"),
    ("reference to an anchor", put(ORDER, "properties", "count", "$ref", "#here"), ORDER,
     "not a JSON Pointer"),
    ("no valid example", drop("examples/valid/http/order.v1/one.json"), ORDER, "1 valid"),
    ("one invalid example", drop("examples/invalid/http/order.v1/zero.json"), ORDER, "2 invalid"),
    ("example of nothing", put("examples/valid/http/no.v1/x.json", {}),
     "examples/valid/http/no.v1/x.json", "no schema"),
    ("valid example that is not", put("examples/valid/http/order.v1/one.json", {"count": "1"}),
     "examples/valid/http/order.v1/one.json", "integer"),
    ("invalid example that is valid", put("examples/invalid/http/order.v1/zero.json", {"count": 1}),
     "examples/invalid/http/order.v1/zero.json", "accepts it"),
    ("no table", drop("VERSIONS.md"), "VERSIONS.md", "is missing"),
    ("no line", listed_as(f"| `{ORDER}` | 1.2.3 | x |\n", ""), "VERSIONS.md", "no line"),
    ("other version in the table", listed_as(f"`{ORDER}` | 1.2.3", f"`{ORDER}` | 1.2.2"),
     "VERSIONS.md", "which is 1.2.3"),
    ("line of nothing", listed_as(f"| `{ORDER}`", f"| `gone.v1.json` | 1.0.0 |\n| `{ORDER}`"),
     "VERSIONS.md", "does not exist"),
    ("OpenAPI 3.0", put(API, "openapi", "3.0.3"), API, "OpenAPI 3.1"),
    ("no operationId", drop(*OPERATION, "operationId"), API, "no operationId"),
    ("operationId twice",
     put(API, "paths", "/b", {"get": {"operationId": "order", "responses": {"200": {}}}}), API,
     "used twice"),
    ("undeclared path parameter", drop(*OPERATION, "parameters"), API, "path parameters"),
    ("path without a slash",
     put(API, "paths", "b", {"get": {"operationId": "b", "responses": {"200": {}}}}), API,
     "begins with /"),
    ("no response", put(*OPERATION, "responses", {}), API, "no response"),
    ("unknown security scheme", put(*OPERATION, "security", [{"basic": []}]), API, "basic"),
    ("reference in the API", put(*BODY, "schema", "$ref", "../http/gone.v1.json"), API,
     "not a contract"),
    ("schema in the API", put(API, "components", "parameters", "Id", "schema", {"type": "text"}),
     API, "not JSON Schema"),
    ("body example in the API", put(*BODY, "examples", "one", "value", {"count": 0}), API,
     "the example"),
    ("parameter example in the API", put(API, "components", "parameters", "Id", "example", 7), API,
     "the example"),
]  # fmt: skip


def test_a_sound_tree_has_no_faults(tmp_path: Path) -> None:
    assert check(through_disk(sound_tree(), tmp_path)) == []


@pytest.mark.parametrize(
    ("break_it", "path", "words"),
    [row[1:] for row in BROKEN_TREES],
    ids=[row[0].replace(" ", "-") for row in BROKEN_TREES],
)
def test_a_fault_is_found_where_it_is(
    tmp_path: Path, break_it: Callable[[Tree], None], path: str, words: str
) -> None:
    tree = sound_tree()
    break_it(tree)

    faults = check(through_disk(tree, tmp_path))

    assert [fault for fault in faults if fault.path == path and words in fault.message], faults


def test_a_fault_reads_as_a_line() -> None:
    assert str(Fault("a.v1.json", "/title", "must say something")) == (
        "a.v1.json#/title: must say something"
    )
    assert str(Fault("a.v1.json", "", "is missing")) == "a.v1.json: is missing"


# ------------------------------------------------------------------ against an older tree


def after(*changes: Callable[[Tree], None]) -> list[Fault]:
    """What is said when the sound tree is followed by one with these changes."""
    older = sound_tree()
    tree = copy.deepcopy(older)
    for change in changes:
        change(tree)
    return check_against(tree, older)


def version(path: str, value: str) -> Callable[[Tree], None]:
    return put(path, "x-version", value)


NEW_PROPERTY = put(ORDER, "properties", "note", {"type": "string"})
MORE_REQUIRED = put(ORDER, "required", ["count", "note"])


def test_a_tree_may_follow_itself() -> None:
    assert after() == []


def test_a_new_optional_member_of_a_command_is_a_minor() -> None:
    assert after(NEW_PROPERTY, version(ORDER, "1.3.0")) == []


def test_a_new_member_of_an_event_is_a_minor() -> None:
    added = put(PLACED, "properties", "note", {"type": "string"})

    assert after(added, version(PLACED, "1.3.0")) == []


def test_a_change_of_words_is_a_patch() -> None:
    assert after(put(ORDER, "title", "Other"), version(ORDER, "1.2.4")) == []


def test_a_change_without_a_higher_version_is_refused() -> None:
    [fault] = after(put(ORDER, "title", "Other"))

    assert fault == Fault(
        ORDER, "/x-version", "the content changed, so it must be above 1.2.3, is 1.2.3"
    )


def test_a_version_that_goes_back_is_refused() -> None:
    [fault] = after(put(ORDER, "title", "Other"), version(ORDER, "1.1.9"))

    assert "must be above 1.2.3" in fault.message


def test_more_than_words_in_a_patch_is_refused() -> None:
    [fault] = after(NEW_PROPERTY, version(ORDER, "1.2.4"))

    assert "new minor" in fault.message


def test_a_breaking_change_is_refused_whatever_its_version() -> None:
    faults = after(NEW_PROPERTY, MORE_REQUIRED, version(ORDER, "1.3.0"))

    [fault] = [one for one in faults if one.path == ORDER]
    assert {one.path for one in faults} == {ORDER, API}, "the API that takes it breaks with it"
    assert "note is required now: breaking" in fault.message
    assert "http/order.v2.json" in fault.message


def test_a_new_major_beside_the_old_file_is_welcome() -> None:
    new = "http/order.v2.json"

    assert after(put(new, schema(new, "consumed", type="array"))) == []


def test_a_removed_file_is_refused() -> None:
    faults = after(drop(ORDER))

    assert [one.message for one in faults if one.path == ORDER] == [
        "removed, and others may use it: keep it until its window has passed"
    ]


def test_a_shared_definition_is_judged_for_everyone_who_uses_it() -> None:
    """Tightening suits the readers of the event and breaks the writers of the command."""
    tighter = put(PLACED, "$defs", "count", "minimum", 2)
    examples = put("examples/valid/events/placed.v1/one.json", {"count": 2})

    faults = after(tighter, examples, version(PLACED, "1.3.0"))

    assert {fault.path for fault in faults} == {ORDER, API}


def test_a_wider_definition_breaks_the_readers_of_the_event() -> None:
    wider = put(PLACED, "$defs", "count", "minimum", 0)

    faults = after(wider, version(PLACED, "1.3.0"))

    assert {fault.path for fault in faults} == {PLACED}


def see_nothing(*_: Any, **__: Any) -> list[Any]:
    return []


def test_an_older_command_example_must_stay_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof by example stands even where the comparison sees nothing."""
    monkeypatch.setattr(contract_tree, "compare", see_nothing)

    faults = after(MORE_REQUIRED, version(ORDER, "1.3.0"))

    assert [fault.path for fault in faults if "the newer contract" in fault.message] == [
        "examples/valid/http/order.v1/one.json"
    ]


def test_a_newer_event_example_must_be_valid_for_older_readers() -> None:
    assert after(put("examples/valid/events/placed.v1/two.json", {"count": 5})) == []
    faults = after(put("examples/valid/events/placed.v1/two.json", {"count": "5"}))

    assert [fault.path for fault in faults] == ["examples/valid/events/placed.v1/two.json"]


def test_a_breaking_change_of_an_api_is_refused() -> None:
    faults = after(drop(*OPERATION), put(API, "info", "version", "1.1.0"))

    assert ["operation post removed" in fault.message for fault in faults] == [True]


def test_a_new_operation_of_an_api_is_a_minor() -> None:
    added = put(API, "paths", "/new", {"get": {"operationId": "new", "responses": {}}})

    assert after(added, put(API, "info", "version", "1.1.0")) == []
    [fault] = after(added, put(API, "info", "version", "1.0.1"))
    assert "new minor" in fault.message


# ------------------------------------------------------------------ standing alone, reading


def test_a_bundled_document_refers_to_nothing_outside() -> None:
    document = bundled(sound_tree(), API)

    assert set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))) == {
        "#/components/parameters/Id",
        "#/components/schemas/Order",
        "#/components/schemas/EventsPlaced/$defs/count",
    }
    assert "$id" not in document["components"]["schemas"]["Order"]


def test_the_contracts_of_this_code_are_found_without_being_told() -> None:
    assert load() == load(default_directory())
    assert "envelope.v1.json" in load()


def folder(path: Path) -> Callable[[Any], Path]:
    """Stands for importlib.resources.files."""

    def files(_: Any) -> Path:
        return path

    return files


def test_the_packaged_copy_comes_before_the_one_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "observatory"
    package.mkdir(parents=True)
    (tmp_path / "contracts").mkdir()
    monkeypatch.setattr(observatory, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(contract_files, "files", folder(package))

    assert default_directory() == tmp_path / "contracts"
    (package / "contracts").mkdir()
    assert default_directory() == package / "contracts"


def test_an_installation_without_contracts_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observatory, "__file__", str(tmp_path / "a" / "b" / "__init__.py"))
    monkeypatch.setattr(contract_files, "files", folder(tmp_path))

    with pytest.raises(ConfigurationError, match="damaged"):
        default_directory()


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a folder"):
        load(tmp_path / "nowhere")


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.v1.json").write_text("{")

    with pytest.raises(ConfigurationError, match=r"x\.v1\.json is not JSON"):
        load(tmp_path)
