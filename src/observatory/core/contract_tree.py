"""Whether a tree of contracts is sound, and whether it may follow an older one.

Rules of this file: a tree is a mapping from the path under ``contracts/`` to the document there
(JSON already decoded; ``VERSIONS.md`` as text). Nothing is read and nothing is fetched. What makes
a tree sound is design section 4 and ``contracts/VERSIONS.md``; each rule is one function below.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import jsonschema_rs

from observatory.core.compatibility import Change, Effect, compare
from observatory.core.contract_references import CONTRACTS_URI, Documents, child, walk
from observatory.core.openapi_compatibility import compare_openapi
from observatory.core.openapi_document import bundle, unsound

Tree = Mapping[str, Any]

VERSIONS: Final = "VERSIONS.md"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
INVALID_EXAMPLES_MIN: Final = 2
"""One invalid example can fail for a reason nobody meant; two seldom do."""

_PATH = re.compile(r"(?:[a-z0-9_.-]+/)*[a-z0-9_.-]+\.v([1-9][0-9]*)\.json")
_SEMVER = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
_VERSION_LINE = re.compile(r"^\|\s*`?([^`|\s]+\.json)`?\s*\|\s*([0-9.]+)\s*\|", re.MULTILINE)

_Said = Iterator[tuple[str, str]]
"""What is wrong in one document: JSON Pointer and message."""


class Fault(NamedTuple):
    """One thing wrong with a tree: in which document, where in it (JSON Pointer), and what."""

    path: str
    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}{'#' + self.pointer if self.pointer else ''}: {self.message}"


def check(tree: Tree) -> list[Fault]:
    """Find everything wrong with a tree of contracts; an empty list means it is sound."""
    faults = [fault for rule in _RULES for fault in rule(tree)]
    # A schema that is no schema, or refers to nothing, makes every example fault in its wake.
    return faults or [*_examples(tree), *_openapi_examples(tree)]


def check_against(tree: Tree, older: Tree) -> list[Fault]:
    """Find what forbids `tree` to take the place of `older`.

    A breaking change needs a file of a new major version beside the old one; any change needs a
    higher ``x-version``, and one that is more than words at least a higher minor.
    """
    faults: list[Fault] = []
    for path in _contract_paths(older):
        if path not in tree:
            message = "removed, and others may use it: keep it until its window has passed"
            faults.append(Fault(path, "", message))
        else:
            faults += _successor(path, tree, older)
    return faults


def schema_paths(tree: Tree) -> list[str]:
    """The JSON Schemas of a tree, without OpenAPI documents and examples."""
    return [path for path in _contract_paths(tree) if not path.startswith("openapi/")]


def openapi_paths(tree: Tree) -> list[str]:
    """The OpenAPI documents of a tree."""
    return [path for path in _contract_paths(tree) if path.startswith("openapi/")]


def documents_by_uri(tree: Tree) -> dict[str, Any]:
    """Every contract by its absolute URI."""
    return {CONTRACTS_URI + path: tree[path] for path in _contract_paths(tree)}


def validator(tree: Tree, path: str) -> jsonschema_rs.Draft202012Validator:
    """A compiled validator of one schema; formats are asserted, nothing is fetched.

    Raises:
        jsonschema_rs.ReferencingError: a reference leads out of the tree.
        jsonschema_rs.ValidationError: the schema is not valid JSON Schema 2020-12.
    """
    return _validator({"$ref": CONTRACTS_URI + path}, _registry(tree))


def bundled(tree: Tree, path: str) -> dict[str, Any]:
    """An OpenAPI document that stands alone: each schema it refers to in its components.

    For serving at ``/openapi.json``, where relative references would lead nowhere.

    Raises:
        LookupError: a reference leads out of the tree.
    """
    return bundle(documents_by_uri(tree), CONTRACTS_URI + path)


def _contract_paths(tree: Tree) -> list[str]:
    return sorted(
        path for path in tree if path.endswith(".json") and not path.startswith("examples/")
    )


def _examples_of(tree: Tree, path: str, kind: str) -> Iterator[str]:
    folder = f"examples/{kind}/{path.removesuffix('.json')}/"
    return (
        one
        for one in sorted(tree)
        if one.startswith(folder) and one.count("/") == folder.count("/")
    )


def _refuse_to_fetch(uri: str) -> Any:
    raise LookupError(f"{uri} is not in this tree, and contracts are never fetched")


def _registry(tree: Tree) -> jsonschema_rs.Registry:
    resources = [(CONTRACTS_URI + path, tree[path]) for path in schema_paths(tree)]
    return jsonschema_rs.Registry(
        resources, draft=jsonschema_rs.Draft202012, retriever=_refuse_to_fetch
    )


def _validator(
    schema: Any, registry: jsonschema_rs.Registry | None
) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        schema, registry=registry, retriever=_refuse_to_fetch, validate_formats=True
    )


# -------------------------------------------------------------------- a schema by itself


def _identity(tree: Tree) -> Iterator[Fault]:
    """Every schema says what it is, and says so truly."""
    for path in schema_paths(tree):
        if isinstance(tree[path], dict):
            yield from (Fault(path, *said) for said in _introduction(tree[path], path))
        else:
            yield Fault(path, "", "a contract is a JSON object")


def _introduction(schema: dict[str, Any], path: str) -> _Said:
    for keyword, value in {"$schema": DIALECT, "$id": CONTRACTS_URI + path}.items():
        if schema.get(keyword) != value:
            yield child("", keyword), f"must be {value}"
    for keyword in ("title", "description"):
        if not str(schema.get(keyword, "")).strip():
            yield child("", keyword), "must say something"
    direction, closed = schema.get("x-direction"), schema.get("unevaluatedProperties") is False
    if direction not in ("consumed", "produced"):
        yield "/x-direction", "must be consumed (commands) or produced (the rest)"
    elif direction == "consumed" and schema.get("type") == "object" and not closed:
        yield "/unevaluatedProperties", "commands are closed: must be false"


def _versions_in_names(tree: Tree) -> Iterator[Fault]:
    """The major version is in the file's name, and is the one inside."""
    for path in _contract_paths(tree):
        named = _PATH.fullmatch(path)
        if not named:
            yield Fault(path, "", "must be named <name>.v<major>.json in lower case")
            continue
        version = _version(tree[path])
        pointer = "/info/version" if path.startswith("openapi/") else "/x-version"
        if not _SEMVER.fullmatch(version):
            yield Fault(path, pointer, "must be a semantic version, such as 1.0.0")
        elif version.split(".")[0] != named[1]:
            yield Fault(path, pointer, f"is {version}, but the file is named v{named[1]}")


def _version(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    info: Any = document.get("info", {})  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    own: Any = document.get("x-version", info.get("version", "") if isinstance(info, dict) else "")  # pyright: ignore
    return own if isinstance(own, str) else ""


def _dialect(tree: Tree) -> Iterator[Fault]:
    """Every schema is valid JSON Schema 2020-12."""
    for path in schema_paths(tree):
        yield from _dialect_of(tree[path], path, "")
    for path in openapi_paths(tree):
        for pointer, value in walk(tree[path]):
            if pointer.endswith("/schema"):
                yield from _dialect_of(value, path, pointer)


def _dialect_of(schema: Any, path: str, pointer: str) -> Iterator[Fault]:
    # With formats asserted, a pattern that is no regular expression is found here.
    meta = jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, validate_formats=True)
    for error in meta.iter_errors(schema):
        place = child(pointer, *error.instance_path)
        yield Fault(path, place, f"not JSON Schema 2020-12: {error.message}")


def _references(tree: Tree) -> Iterator[Fault]:
    """Every reference leads to something in the tree."""
    documents = Documents(documents_by_uri(tree))
    for path in _contract_paths(tree):
        for pointer, value in walk(tree[path]):
            if not pointer.endswith("/$ref") or not isinstance(value, str):
                continue
            try:
                documents.resolve(value, CONTRACTS_URI + path)
            except LookupError as error:
                yield Fault(path, pointer, str(error))


def _versions_table(tree: Tree) -> Iterator[Fault]:
    """VERSIONS.md lists every contract with its version, and nothing else."""
    text = tree.get(VERSIONS)
    if not isinstance(text, str):
        yield Fault(VERSIONS, "", "is missing")
        return
    listed = dict(_VERSION_LINE.findall(text))
    for path in _contract_paths(tree):
        version = _version(tree[path])
        if path not in listed:
            yield Fault(VERSIONS, "", f"has no line for {path}")
        elif listed[path] != version:
            yield Fault(VERSIONS, "", f"says {listed[path]} for {path}, which is {version}")
    for path in sorted(listed.keys() - set(_contract_paths(tree))):
        yield Fault(VERSIONS, "", f"lists {path}, which does not exist")


def _examples_exist(tree: Tree) -> Iterator[Fault]:
    """Every schema has examples of both kinds, and every example has a schema."""
    known: set[str] = set()
    for path in schema_paths(tree):
        for kind, least in (("valid", 1), ("invalid", INVALID_EXAMPLES_MIN)):
            found = list(_examples_of(tree, path, kind))
            known.update(found)
            if len(found) < least:
                yield Fault(path, "", f"needs {least} {kind} examples, has {len(found)}")
    for path in sorted(tree):
        if path.startswith("examples/") and path not in known:
            yield Fault(path, "", "is an example of no schema")


def _openapi(tree: Tree) -> Iterator[Fault]:
    """OpenAPI documents hang together."""
    for path in openapi_paths(tree):
        yield from (Fault(path, *said) for said in unsound(tree[path]))


_RULES: Final[tuple[Callable[[Tree], Iterable[Fault]], ...]] = (
    _identity,
    _versions_in_names,
    _dialect,
    _references,
    _versions_table,
    _examples_exist,
    _openapi,
)
"""What must hold before examples can be judged."""


# -------------------------------------------------------------------- examples


def _examples(tree: Tree) -> Iterator[Fault]:
    """Valid examples are valid, invalid ones are not."""
    registry = _registry(tree)
    for path in schema_paths(tree):
        try:
            schema = _validator({"$ref": CONTRACTS_URI + path}, registry)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            yield Fault(path, "", f"does not compile: {error}")
            continue
        yield from _valid_examples(tree, path, schema)
        for example in _examples_of(tree, path, "invalid"):
            if schema.is_valid(tree[example]):
                yield Fault(example, "", f"is meant to be invalid and {path} accepts it")


def _valid_examples(
    tree: Tree, path: str, schema: jsonschema_rs.Draft202012Validator
) -> Iterator[Fault]:
    for example in _examples_of(tree, path, "valid"):
        for error in schema.iter_errors(tree[example]):
            yield Fault(example, child("", *error.instance_path), f"{path}: {error.message}")


def _openapi_examples(tree: Tree) -> Iterator[Fault]:
    """What an OpenAPI document shows is what it says."""
    for path in openapi_paths(tree):
        document = bundled(tree, path)
        for pointer, value in walk(document):
            if isinstance(value, dict) and "schema" in value:
                yield from _shown(value, document, path, pointer)  # pyright: ignore[reportUnknownArgumentType]


def _shown(
    holder: dict[str, Any], document: dict[str, Any], path: str, pointer: str
) -> Iterator[Fault]:
    shown: dict[tuple[str, ...], Any] = {
        ("examples", name): one.get("value") for name, one in holder.get("examples", {}).items()
    }
    if "example" in holder:
        shown["example",] = holder["example"]
    if not shown:
        return
    # The schema's references lead into the document's components.
    whole = {"components": document["components"], "allOf": [holder["schema"]]}
    try:
        schema = _validator(whole, None)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        yield Fault(path, child(pointer, "schema"), f"does not compile: {error}")
        return
    for names, value in shown.items():
        for error in schema.iter_errors(value):
            yield Fault(path, child(pointer, *names), f"the example: {error.message}")


# -------------------------------------------------------------------- against an older tree


def _successor(path: str, tree: Tree, older: Tree) -> Iterator[Fault]:
    changes = _changes(path, tree, older)
    breaking = [change for change in changes if change.breaking]
    for change in breaking:
        message = f"{change.message}: breaking; leave this file and make {_next_major(path)}"
        yield Fault(path, change.pointer, message)
    if tree[path] != older[path]:
        yield from _bump(path, changes, _version(older[path]), _version(tree[path]))
    if not breaking and not path.startswith("openapi/"):
        yield from _old_examples(path, tree, older)


def _changes(path: str, tree: Tree, older: Tree) -> list[Change]:
    before, after = documents_by_uri(older), documents_by_uri(tree)
    uri = CONTRACTS_URI + path
    if path.startswith("openapi/"):
        return compare_openapi(
            older[path], tree[path], uri, old_documents=before, new_documents=after
        )
    return compare(
        older[path],
        tree[path],
        older[path].get("x-direction", "produced"),
        old_documents=before,
        new_documents=after,
    )


def _next_major(path: str) -> str:
    return re.sub(r"\.v(\d+)\.json$", lambda found: f".v{int(found[1]) + 1}.json", path)


def _bump(path: str, changes: list[Change], old: str, new: str) -> Iterator[Fault]:
    if not _SEMVER.fullmatch(old) or not _SEMVER.fullmatch(new):
        yield Fault(path, "/x-version", f"{old} and {new} cannot be compared")
        return
    before, after = ([int(part) for part in one.split(".")] for one in (old, new))
    if after <= before:
        yield Fault(path, "/x-version", f"the content changed, so it must be above {old}, is {new}")
    elif after[:2] == before[:2] and any(one.effect is not Effect.ANNOTATED for one in changes):
        message = f"more than words changed, so {old} must be followed by a new minor, is {new}"
        yield Fault(path, "/x-version", message)


def _old_examples(path: str, tree: Tree, older: Tree) -> Iterator[Fault]:
    """The proof by example: old commands stay valid, new events are valid for old readers."""
    consumed = older[path].get("x-direction") == "consumed"
    schemas, values = (tree, older) if consumed else (older, tree)
    try:
        judge = validator(schemas, path)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        yield Fault(path, "", f"does not compile: {error}")
        return
    for example in _examples_of(values, path, "valid"):
        for error in judge.iter_errors(values[example]):
            whose = "the newer contract" if consumed else "the older contract"
            yield Fault(example, child("", *error.instance_path), f"{whose}: {error.message}")
