"""One OpenAPI 3.1 document: whether it hangs together, and how it is made to stand alone.

Rules of this file: documents are written with references to the schemas beside them, and served
with everything inside; a fault is a JSON Pointer and a message.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from observatory.core.contract_references import CONTRACTS_URI, Documents, at_pointer, child

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Said = Iterator[tuple[str, str]]

_TEMPLATE_NAME = re.compile(r"\{([^}]+)\}")


def bundle(documents: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """The document at `uri` with each schema it refers to in its components.

    Raises:
        LookupError: a reference leads out of the documents.
    """
    return _Bundle(Documents(documents), uri).document()


class _Bundle:
    def __init__(self, documents: Documents, uri: str) -> None:
        self._documents = documents
        self._uri = uri
        self._schemas: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        document = self._localised(self._documents.by_uri[self._uri], self._uri)
        components = {
            **document.get("components", {}),
            "schemas": dict(sorted(self._schemas.items())),
        }
        return {**document, "components": components}

    def _localised(self, value: Any, base: str) -> Any:
        """A copy whose references stay within the document."""
        if isinstance(value, list):
            items = cast("list[Any]", value)
            return [self._localised(item, base) for item in items]
        if not isinstance(value, dict):
            return value
        members = cast("dict[str, Any]", value)
        copy = {name: self._localised(inner, base) for name, inner in members.items()}
        if isinstance(copy.get("$ref"), str):
            copy["$ref"] = self._pointer_to(copy["$ref"], base)
        return copy

    def _pointer_to(self, reference: str, base: str) -> str:
        located = self._documents.resolve(reference, base)
        if located.document_uri == self._uri:
            return f"#{located.pointer}"
        name = _component_name(located.document_uri)
        if name not in self._schemas:
            self._schemas[name] = {}  # before descending: contracts refer to one another
            whole = self._documents.by_uri[located.document_uri]
            schema = self._localised(whole, located.document_uri)
            # With an $id of its own, what is inside would look for its references there.
            self._schemas[name] = {k: v for k, v in schema.items() if k not in ("$id", "$schema")}
        return f"#/components/schemas/{name}{located.pointer}"


def _component_name(uri: str) -> str:
    stem = uri.removeprefix(CONTRACTS_URI).removesuffix(".json")
    stem = stem.removesuffix(".v1").removeprefix("http/")
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", stem))


def unsound(document: Any) -> Said:
    """What keeps a document from hanging together: names, templates, responses, security."""
    if not isinstance(document, dict) or not _is_openapi(document):  # pyright: ignore[reportUnknownArgumentType]
        yield "", "must be OpenAPI 3.1 with info and paths"
        return
    for rule in (_operation_ids, _path_templates, _responses, _security):
        yield from rule(document)  # pyright: ignore[reportUnknownArgumentType]


def _is_openapi(document: dict[str, Any]) -> bool:
    version = document.get("openapi")
    return (
        isinstance(version, str)
        and version.startswith("3.1.")
        and all(isinstance(document.get(name), dict) for name in ("info", "paths"))
    )


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation with its path and pointer."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, child("", "paths", path, method), item[method]


def _operation_ids(document: dict[str, Any]) -> Said:
    seen: set[str] = set()
    for _, pointer, operation in _operations(document):
        name = operation.get("operationId")
        if not name:
            yield pointer, "has no operationId"
        elif name in seen:
            yield pointer, f"operationId {name} is used twice"
        seen.add(name or "")


def _path_templates(document: dict[str, Any]) -> Said:
    for path, pointer, operation in _operations(document):
        if not path.startswith("/"):
            yield pointer, "a path begins with /"
        declared: set[str] = set()
        for one in [
            *document["paths"][path].get("parameters", []),
            *operation.get("parameters", []),
        ]:
            parameter = _local(document, one)
            if parameter.get("in") == "path":
                declared.add(parameter["name"])
        if declared != set(_TEMPLATE_NAME.findall(path)):
            yield pointer, f"path parameters are {sorted(declared)}, the path says otherwise"


def _responses(document: dict[str, Any]) -> Said:
    for _, pointer, operation in _operations(document):
        if not operation.get("responses"):
            yield pointer, "documents no response"


def _security(document: dict[str, Any]) -> Said:
    schemes = document.get("components", {}).get("securitySchemes", {})
    given = [("/security", document.get("security", []))]
    given += [(f"{at}/security", one.get("security", [])) for _, at, one in _operations(document)]
    for pointer, alternatives in given:
        for name in (name for one in alternatives for name in one if name not in schemes):
            yield pointer, f"security scheme {name} does not exist"


def _local(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A value, or what its reference within the document leads to."""
    if "$ref" not in value:
        return value
    try:
        return at_pointer(document, value["$ref"].removeprefix("#"))
    except LookupError:
        return {}
