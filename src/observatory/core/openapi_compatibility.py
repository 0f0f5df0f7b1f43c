"""What changed between two versions of an OpenAPI 3.1 document, and whom it breaks.

Rules of this file:

1. What clients send (parameters, bodies) is consumed, what they are answered (bodies, headers) is
   produced; schemas are compared by compatibility.py in that direction.
2. A path, operation, parameter, media type, response or header taken out breaks. A parameter too,
   because an unknown query parameter is answered 400.
3. Something new that a client must send breaks; something it may send does not. A new success
   status breaks (nobody looks for it); a new error status does not.
4. A field this file does not know breaks when it changes.
"""

from collections.abc import Mapping
from typing import Any, Final

from observatory.core.compatibility import At, Change, Effect, SchemaComparison
from observatory.core.contract_references import Documents
from observatory.core.openapi_document import METHODS

Json = Any
Object = dict[str, Any]

_ANNOTATIONS: Final = frozenset(
    {"summary", "description", "tags", "externalDocs", "example", "examples", "deprecated", "links"}
)
_DOCUMENT_FIELDS: Final = frozenset(
    {"openapi", "info", "servers", "tags", "externalDocs", "paths", "components", "security"}
)


def compare_openapi(
    old: Object,
    new: Object,
    uri: str,
    *,
    old_documents: Mapping[str, Json] | None = None,
    new_documents: Mapping[str, Json] | None = None,
) -> list[Change]:
    """List every difference between two versions of an OpenAPI document that a client can notice.

    Args:
        old: the document in use.
        new: what shall replace it.
        uri: where both lie, so that their references can be followed.
        old_documents: the documents beside the old one, by URI.
        new_documents: the documents beside the new one.
    """
    before = Documents({**(old_documents or {}), uri: old})
    after = Documents({**(new_documents or {}), uri: new})
    comparison = _DocumentComparison(before, after)
    comparison.documents(old, new, At("", uri, uri))
    return [*comparison.sent.changes, *comparison.answered.changes]


class _DocumentComparison:
    def __init__(self, old_documents: Documents, new_documents: Documents) -> None:
        self.sent = SchemaComparison("consumed", old_documents, new_documents)
        self.answered = SchemaComparison("produced", old_documents, new_documents)
        self._root: tuple[Object, Object] = ({}, {})

    def _breaks(self, at: At, message: str) -> None:
        self.sent.note(at, Effect.REPLACED, message)

    def _extends(self, at: At, message: str) -> None:
        self.sent.note(at, Effect.EXTENDED, message)

    def _annotates(self, at: At, message: str) -> None:
        self.sent.note(at, Effect.ANNOTATED, message)

    def _follow(self, old: Object, new: Object, at: At) -> tuple[Object, Object, At]:
        """Step through a reference object on either side."""
        old_uri, new_uri = at.old_uri, at.new_uri
        if "$ref" in old:
            old, old_uri, _ = self.sent.old_documents.resolve(old["$ref"], old_uri)
        if "$ref" in new:
            new, new_uri, _ = self.sent.new_documents.resolve(new["$ref"], new_uri)
        return old, new, At(at.pointer, old_uri, new_uri)

    def _others(self, old: Object, new: Object, known: frozenset[str], at: At) -> None:
        """Rule 4, and the annotations."""
        for name in sorted((old.keys() | new.keys()) - known):
            if old.get(name) != new.get(name):
                note = self._annotates if name in _ANNOTATIONS else self._breaks
                note(at.into(name), f"{name} changed")

    def documents(self, old: Object, new: Object, at: At) -> None:
        self._root = (old, new)
        self._others(old, new, _DOCUMENT_FIELDS | {"jsonSchemaDialect"}, at)
        if old.get("jsonSchemaDialect") != new.get("jsonSchemaDialect"):
            self._breaks(at.into("jsonSchemaDialect"), "the meaning of every schema changed")
        before, after = old.get("paths", {}), new.get("paths", {})
        for path in sorted(before.keys() | after.keys()):
            place = at.into("paths", path)
            if path not in after:
                self._breaks(place, f"path {path} removed")
            elif path not in before:
                self._extends(place, f"path {path} added")
            else:
                self._paths(before[path], after[path], place)

    def _paths(self, old: Object, new: Object, at: At) -> None:
        self._others(old, new, frozenset({*METHODS, "parameters"}), at)
        for method in METHODS:
            place = at.into(method)
            if method in old and method not in new:
                self._breaks(place, f"operation {method} removed")
            elif method in new and method not in old:
                self._extends(place, f"operation {method} added")
            elif method in old:
                shared = (old.get("parameters", []), new.get("parameters", []))
                self._operations(old[method], new[method], shared, place)

    def _operations(
        self, old: Object, new: Object, shared: tuple[list[Object], list[Object]], at: At
    ) -> None:
        known = {"operationId", "parameters", "requestBody", "responses", "security"}
        self._others(old, new, frozenset(known), at)
        if old.get("operationId") != new.get("operationId"):
            self._breaks(at.into("operationId"), "operationId changed; generated clients use it")
        before = self._parameters_by_key(shared[0], old, self.sent.old_documents, at.old_uri)
        after = self._parameters_by_key(shared[1], new, self.sent.new_documents, at.new_uri)
        self._parameters(before, after, at.into("parameters"))
        self._request_bodies(old.get("requestBody"), new.get("requestBody"), at)
        self._responses(old.get("responses", {}), new.get("responses", {}), at.into("responses"))
        self._security(old, new, at.into("security"))

    # ------------------------------------------------------------ what is sent

    def _parameters_by_key(
        self, shared: list[Object], operation: Object, documents: Documents, uri: str
    ) -> dict[tuple[str, str], tuple[Object, str]]:
        found: dict[tuple[str, str], tuple[Object, str]] = {}
        for one in [*shared, *operation.get("parameters", [])]:
            at = documents.resolve(one["$ref"], uri) if "$ref" in one else None
            parameter, where = (at.value, at.document_uri) if at else (one, uri)
            name = parameter["name"]
            # Header names do not tell case apart (RFC 9110 5.1).
            name = name.lower() if parameter["in"] == "header" else name
            found[parameter["in"], name] = (parameter, where)
        return found

    def _parameters(
        self,
        before: dict[tuple[str, str], tuple[Object, str]],
        after: dict[tuple[str, str], tuple[Object, str]],
        at: At,
    ) -> None:
        for key in sorted(before.keys() | after.keys()):
            place = at.into(*key)
            label = f"{key[0]} parameter {key[1]}"
            if key not in after:
                self._breaks(place, f"{label} removed")
            elif key not in before and after[key][0].get("required"):
                self._breaks(place, f"{label} added, and it is required")
            elif key not in before:
                self._extends(place, f"{label} added")
            else:
                (old, old_uri), (new, new_uri) = before[key], after[key]
                self._parameter(old, new, label, At(place.pointer, old_uri, new_uri))

    def _parameter(self, old: Object, new: Object, label: str, at: At) -> None:
        self._others(old, new, frozenset({"name", "in", "required", "schema"}), at)
        if bool(old.get("required")) != bool(new.get("required")):
            effect = Effect.NARROWED if new.get("required") else Effect.WIDENED
            words = "is required now" if new.get("required") else "is no longer required"
            self.sent.note(at.into("required"), effect, f"{label} {words}")
        self.sent.compare(old.get("schema", True), new.get("schema", True), at.below("schema"))

    def _request_bodies(self, old: Object | None, new: Object | None, at: At) -> None:
        at = at.into("requestBody")
        if old is None or new is None:
            if new is not None and new.get("required"):
                self._breaks(at, "a request body is required now")
            elif new is not None:
                self._extends(at, "a request body may be sent now")
            elif old is not None:
                self._breaks(at, "request body removed")
            return
        old, new, at = self._follow(old, new, at)
        self._others(old, new, frozenset({"required", "content"}), at)
        if new.get("required") and not old.get("required"):
            self._breaks(at.into("required"), "the request body is required now")
        elif old.get("required") and not new.get("required"):
            self._extends(at.into("required"), "the request body may be left out now")
        self._contents(old, new, self.sent, at)

    def _security(self, old: Object, new: Object, at: At) -> None:
        before, after = _ways_in(old, self._root[0]), _ways_in(new, self._root[1])
        for one in before:
            if one not in after and {} not in after:
                self._breaks(at, f"what was enough to be let in no longer is: {one or 'nothing'}")
        for one in after:
            if one not in before:
                self._extends(at, f"another way to be let in: {one or 'nothing'}")

    # ------------------------------------------------------------ what is answered

    def _responses(self, old: Object, new: Object, at: At) -> None:
        for status in sorted(old.keys() | new.keys()):
            place = at.into(status)
            if status not in new:
                self._breaks(place, f"response {status} removed")
            elif status not in old:
                success = status[0] in "123"
                note = self._breaks if success else self._extends
                note(place, f"response {status} added")
            else:
                self._response(*self._follow(old[status], new[status], place))

    def _response(self, old: Object, new: Object, at: At) -> None:
        self._others(old, new, frozenset({"headers", "content"}), at)
        self._contents(old, new, self.answered, at)
        before, after = old.get("headers", {}), new.get("headers", {})
        for name in sorted(before.keys() | after.keys()):
            place = at.into("headers", name)
            if name not in after:
                self._breaks(place, f"response header {name} removed")
            elif name not in before:
                self._extends(place, f"response header {name} added")
            else:
                self._header(*self._follow(before[name], after[name], place), name)

    def _header(self, old: Object, new: Object, at: At, name: str) -> None:
        self._others(old, new, frozenset({"required", "schema"}), at)
        if old.get("required") and not new.get("required"):
            self._breaks(at.into("required"), f"response header {name} may be missing now")
        self.answered.compare(old.get("schema", True), new.get("schema", True), at.below("schema"))

    def _contents(self, old: Object, new: Object, comparison: SchemaComparison, at: At) -> None:
        before, after = old.get("content", {}), new.get("content", {})
        for media in sorted(before.keys() | after.keys()):
            place = at.into("content", media)
            if media not in after:
                self._breaks(place, f"media type {media} removed")
            elif media not in before:
                self._extends(place, f"media type {media} added")
            else:
                known = frozenset({"schema"})
                self._others(before[media], after[media], known, place)
                first, second = (one[media].get("schema", True) for one in (before, after))
                comparison.compare(first, second, place.below("schema"))


def _ways_in(operation: Object, document: Object) -> list[Object]:
    """The alternatives of which a client must meet one; without any, nothing is asked for."""
    none: list[Object] = [{}]
    return operation.get("security", document.get("security")) or none
