"""Payload contracts: compiled validators whose refusals point at each fault (RFC 6901)."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import jsonschema_rs

from observatory.core.errors import ConfigurationError, Fault, ValidationFailed
from observatory.core.form import words_of
from observatory.core.strict_json import escape

_FAULTS_MAX = 20
"""Enough to mend an input by; an answer must stay small whatever was sent."""

_DETAIL_CHARS_MAX = 300


class Contract:
    """One JSON Schema 2020-12, compiled. It never fetches a reference from elsewhere."""

    def __init__(
        self, schema: Mapping[str, Any], documents: Mapping[str, Any] | None = None
    ) -> None:
        """Compile a schema.

        Args:
            schema: the contract.
            documents: what it may refer to, by ``$id``.

        Raises:
            ConfigurationError: the schema is not valid, or refers outside itself.
        """
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                dict(schema),
                validate_formats=True,
                registry=_registry(documents) if documents else None,
                offline=True,
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise ConfigurationError(
                f"the contract is not a usable JSON Schema: {_reason(error)}"
            ) from error

    def faults(self, instance: Any, at: str = "") -> tuple[Fault, ...]:
        """What is wrong with an instance, the first twenty; `at` is the pointer of its place."""
        if self._validator.is_valid(instance):
            return ()
        found: dict[tuple[str, str], Fault] = {}
        for error in islice(self._validator.iter_errors(instance), _FAULTS_MAX):
            for fault in _faults_of(error, at):
                # One fault is told once, whichever keywords have found it.
                kind = fault.detail
                if isinstance(error.kind, _OF_FORM):
                    kind = "form"
                elif isinstance(error.kind, _Kind.Type):
                    kind = "type"
                found.setdefault((fault.pointer, kind), fault)
        # Of a value of the wrong type nothing else needs to be said.
        mistyped = {error_at for error_at, kind in found if kind == "type"}
        told = (f for (place, kind), f in found.items() if kind == "type" or place not in mistyped)
        return tuple(islice(told, _FAULTS_MAX))

    def check(self, instance: Any, what: str, at: str = "") -> None:
        """Refuse an instance that does not meet the contract.

        Raises:
            ValidationFailed: with the faults.
        """
        if faults := self.faults(instance, at):
            count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise ValidationFailed(f"{what} has {count}", faults=faults)


_Kind: Final = jsonschema_rs.ValidationErrorKind
_OF_FORM: Final = (_Kind.Pattern, _Kind.Format)


def _faults_of(error: jsonschema_rs.ValidationError, at: str) -> list[Fault]:
    pointer = at + "".join(f"/{escape(str(token))}" for token in error.instance_path)
    kind = error.kind
    if isinstance(kind, _Kind.AdditionalProperties | _Kind.UnevaluatedProperties):
        return [
            Fault(f"{pointer}/{escape(name)}", "is not a known member") for name in kind.unexpected
        ]
    if isinstance(kind, _Kind.AnyOf):
        # A value that may be null and is something else was meant to be the other thing.
        meant = [branch for branch in kind.context if not _wants_null(branch, error)]
        if len(meant) == 1:
            return [fault for inner in meant[0] for fault in _faults_of(inner, at)]
        if types := _types_wanted(kind.context):
            return [Fault(pointer, f"is of none of the types {types}")]
    if isinstance(kind, _Kind.OneOfNotValid):
        kinds = [e.kind for branch in kind.context for e in branch]
        wanted = [one.property for one in kinds if isinstance(one, _Kind.Required)]
        if len(wanted) == len(kinds):
            return [Fault(pointer, f"needs one of {', '.join(wanted)}")]
    if isinstance(kind, _Kind.OneOfMultipleValid):
        return [Fault(pointer, "has members that exclude one another")]
    return [Fault(pointer, _detail(error))]


def _wants_null(
    branch: list[jsonschema_rs.ValidationError], choice: jsonschema_rs.ValidationError
) -> bool:
    return any(
        isinstance(e.kind, _Kind.Type)
        and e.kind.types == ["null"]
        and e.instance_path == choice.instance_path
        for e in branch
    )


def _types_wanted(branches: list[list[jsonschema_rs.ValidationError]]) -> str | None:
    """The types of the alternatives, where the value has the wrong one for each."""
    wanted: list[str] = []
    for branch in branches:
        kinds = [e.kind for e in branch]
        if len(kinds) != 1 or not isinstance(kinds[0], _Kind.Type):
            return None
        wanted += kinds[0].types
    return ", ".join(wanted)


def _detail(error: jsonschema_rs.ValidationError) -> str:
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Pattern):
        words = words_of(error.kind.pattern)
        if words is not None:
            return f"must be {words}"
    if isinstance(error.kind, _Kind.Not):
        excluded: Any = error.kind.schema
        if isinstance(excluded, dict) and excluded.keys() == {"required"}:  # pyright: ignore[reportUnknownMemberType]
            return f"must not have {' and '.join(excluded['required'])} together"  # pyright: ignore[reportUnknownArgumentType]
    return error.message[:_DETAIL_CHARS_MAX]


def _reason(error: Exception) -> str:
    if not isinstance(error, jsonschema_rs.ValidationError):
        return str(error)
    at = "".join(f"/{escape(str(token))}" for token in error.instance_path)
    return f"at {at or 'its root'}, {error.message}"


def _registry(documents: Mapping[str, Any]) -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry(list(documents.items()), draft=jsonschema_rs.Draft202012)
