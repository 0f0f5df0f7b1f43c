"""Job types: the name a handler is registered under, its payload contract and its policy."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

import msgspec

from observatory.core.errors import ConfigurationError

JOB_TYPE_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
QUEUE_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
PRIORITIES: Final = ("high", "normal", "low")
"""In the order in which they are taken."""

DEFAULT_QUEUE: Final = "default"
DEFAULT_MAX_ATTEMPTS: Final = 3


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Backoff between attempts: ``min(cap, base * factor ** (n - 1))`` seconds after failure n.

    With `jitter` the delay is drawn uniformly between 0 and that ("full jitter", Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), so that jobs that failed
    together do not come back together.
    """

    base: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.base < math.inf and 0 <= self.cap < math.inf):
            raise ConfigurationError(f"base and cap must be 0 or more seconds, got {self}")
        if not 1 <= self.factor < math.inf:
            raise ConfigurationError(f"factor must be 1 or more, got {self.factor}")

    def delay_s(self, tries: int, jitter: float) -> float:
        """Seconds to wait after the given number of failures (from 1); `jitter` in [0, 1)."""
        try:
            ceiling = min(self.cap, self.base * self.factor ** (tries - 1)) if self.base else 0.0
        except OverflowError:
            ceiling = self.cap
        return ceiling * jitter if self.jitter else ceiling


class JobType(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway must know of a job type: no code, so it can be registered in the store."""

    name: str
    version: int
    queue: str
    max_attempts: int
    timeout_s: float | None
    retry: Retry
    contract: dict[str, Any]
    description: str | None = None


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """A job type together with the function that runs it."""

    job_type: JobType
    function: Callable[..., Any]
    is_async: bool
    context_parameter: str | None
    parameters: type[msgspec.Struct] | None
    """Decodes the payload to the annotated types; None where the contract came from a schema."""


def payload_parameters(
    function: Callable[..., Any], context_type: type
) -> tuple[list[inspect.Parameter], str | None]:
    """The parameters filled from the payload, and the name of the one that takes the context.

    Raises:
        ConfigurationError: a positional-only or ``*args`` parameter, which no payload can fill.
    """
    hints = _hints(function)
    fields: list[inspect.Parameter] = []
    context: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise ConfigurationError(
                f"{function.__qualname__}: parameter {parameter.name!r} cannot be filled by name; "
                "a payload is a JSON object"
            )
        if hints.get(parameter.name) is context_type:
            context = parameter.name
        else:
            fields.append(parameter.replace(annotation=hints.get(parameter.name, Any)))
    return fields, context


def parameters_struct(name: str, fields: list[inspect.Parameter]) -> type[msgspec.Struct]:
    """A struct whose fields are the handler's payload parameters."""
    closed = all(field.kind != field.VAR_KEYWORD for field in fields)
    named = [field for field in fields if field.kind != field.VAR_KEYWORD]
    required: list[Any] = [(f.name, f.annotation) for f in named if f.default is f.empty]
    optional: list[Any] = [
        (f.name, f.annotation, _default(f.default)) for f in named if f.default is not f.empty
    ]
    return msgspec.defstruct(
        re.sub(r"\W", "_", name) + "_payload",
        required + optional,
        forbid_unknown_fields=closed,
        kw_only=True,
    )


def _default(value: Any) -> Any:
    if isinstance(value, list | dict | set):
        return msgspec.field(default_factory=lambda: type(value)(value))  # pyright: ignore
    return value


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{function.__qualname__}: a type hint cannot be resolved: {error}"
        ) from error
