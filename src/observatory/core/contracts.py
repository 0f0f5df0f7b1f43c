"""Payload contracts: compiled validators whose refusals point at each fault (RFC 6901)."""

from collections.abc import Mapping
from typing import Any

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
        found: list[Fault] = []
        for error in self._validator.iter_errors(instance):
            pointer = "".join(f"/{escape(str(token))}" for token in error.instance_path)
            found.append(Fault(at + pointer, _detail(error)))
            if len(found) == _FAULTS_MAX:
                break
        return tuple(found)

    def check(self, instance: Any, what: str, at: str = "") -> None:
        """Refuse an instance that does not meet the contract.

        Raises:
            ValidationFailed: with the faults.
        """
        if faults := self.faults(instance, at):
            raise ValidationFailed(f"{what} does not meet its contract", faults=faults)


def _detail(error: jsonschema_rs.ValidationError) -> str:
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Pattern):
        words = words_of(error.kind.pattern)
        if words is not None:
            return f"must be {words}"
    return error.message[:_DETAIL_CHARS_MAX]


def _reason(error: Exception) -> str:
    if not isinstance(error, jsonschema_rs.ValidationError):
        return str(error)
    at = "".join(f"/{escape(str(token))}" for token in error.instance_path)
    return f"at {at or 'its root'}, {error.message}"


def _registry(documents: Mapping[str, Any]) -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry(list(documents.items()), draft=jsonschema_rs.Draft202012)
