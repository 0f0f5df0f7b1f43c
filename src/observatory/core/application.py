"""What a user writes against: the application that holds job types, and the job's context."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from observatory.core.canary import HEARTBEAT_JOB
from observatory.core.contracts import Contract
from observatory.core.errors import ConfigurationError
from observatory.core.form import JOB_TYPE, QUEUE, Form
from observatory.core.job_type import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    Handler,
    JobType,
    Retry,
    parameters_struct,
    payload_parameters,
)
from observatory.core.payload_contract import contract_from_struct

F = TypeVar("F", bound=Callable[..., Any])


class JobLog(Protocol):
    """Writes lines that are kept with the job. Each takes a message and named fields."""

    def debug(self, message: str, /, **fields: Any) -> None:
        """Something of interest while searching for a fault."""
        ...

    def info(self, message: str, /, **fields: Any) -> None:
        """Something worth knowing."""
        ...

    def warning(self, message: str, /, **fields: Any) -> None:
        """Something that may need a look."""
        ...

    def error(self, message: str, /, **fields: Any) -> None:
        """Something that went wrong."""
        ...


class JobContext(Protocol):
    """Given to a handler that asks for it by annotation: ``ctx: JobContext``.

    ``(job_id, attempt)`` identifies the run; ``job_id`` alone is the key to make a handler's side
    effects idempotent, since a job is started at least once.
    """

    @property
    def job_id(self) -> str:
        """The job's id (UUIDv7)."""
        ...

    @property
    def job_type(self) -> str:
        """The name the handler is registered under."""
        ...

    @property
    def attempt(self) -> int:
        """Which run this is, from 1."""
        ...

    @property
    def correlation_id(self) -> str:
        """What this job belongs to, as given or made at submission."""
        ...

    @property
    def cancelled(self) -> bool:
        """True once this run should end: asked for a look by handlers that run in a thread."""
        ...

    @property
    def log(self) -> JobLog:
        """Writes lines kept with the job."""
        ...

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        """Report how far the run is: 0 to 1, or None where it cannot be told."""
        ...


class Observatory:
    """Holds the job types of an application.

    ::

        app = Observatory()

        @app.job("email.send", max_attempts=5, retry=Retry(cap=30))
        async def send(to: str, subject: str, ctx: JobContext) -> None: ...
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The registered handlers by job type."""
        return self._handlers

    @overload
    def job(self, name: F, /) -> F: ...
    @overload
    def job(
        self,
        name: str | None = None,
        /,
        *,
        queue: str = DEFAULT_QUEUE,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        timeout: float | None = None,
        retry: Retry | None = None,
        version: int = 1,
        payload_schema: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]: ...
    def job(
        self,
        name: Any = None,
        /,
        *,
        queue: str = DEFAULT_QUEUE,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        timeout: float | None = None,
        retry: Retry | None = None,
        version: int = 1,
        payload_schema: Mapping[str, Any] | None = None,
    ) -> Any:
        """Register a function as the handler of a job type; the function itself is unchanged.

        Args:
            name: the job type; the function's own name where none is given.
            queue: the work queue its jobs wait in.
            max_attempts: how many failed attempts end the job, 1 to 100.
            timeout: seconds one attempt may take; None for no limit.
            retry: the backoff between attempts.
            version: the major version of the payload contract.
            payload_schema: a JSON Schema to use instead of the one from the type hints; the
                payload is then passed on as decoded, by keyword.

        Raises:
            ConfigurationError: a name, number, type hint or schema that cannot be used, or a job
                type registered twice.
        """
        if callable(name):
            return self.job()(name)

        def register(function: F) -> F:
            job_type = name or function.__name__
            _validate(job_type, queue, max_attempts, timeout, version)
            if job_type in self._handlers:
                raise ConfigurationError(f"job type {job_type!r} is registered twice")
            fields, context_parameter = payload_parameters(function, JobContext)
            parameters = None if payload_schema else parameters_struct(job_type, fields)
            contract = dict(payload_schema) if payload_schema else {}
            if parameters is not None:
                contract = contract_from_struct(parameters)
            _compile(job_type, contract)
            self._handlers[job_type] = Handler(
                job_type=JobType(
                    name=job_type,
                    version=version,
                    queue=queue,
                    max_attempts=max_attempts,
                    timeout_s=timeout,
                    retry=retry or Retry(),
                    contract=contract,
                    description=inspect.getdoc(function),
                ),
                function=function,
                is_async=inspect.iscoroutinefunction(function),
                context_parameter=context_parameter,
                parameters=parameters,
            )
            return function

        return register


def _validate(
    name: str, queue: str, max_attempts: int, timeout: float | None, version: int
) -> None:
    _fits(name, JOB_TYPE)
    if name == HEARTBEAT_JOB:
        raise ConfigurationError(f"the job type {name!r} is built in; choose another name")
    _fits(queue, QUEUE)
    if type(max_attempts) is not int or not 1 <= max_attempts <= 100:
        raise ConfigurationError(f"max_attempts must be 1 to 100, got {max_attempts!r}")
    if timeout is not None and timeout <= 0:
        raise ConfigurationError(f"timeout must be more than 0 seconds, got {timeout!r}")
    if type(version) is not int or version < 1:  # 1.5 and True cannot be kept as a version
        raise ConfigurationError(f"version must be a whole number from 1, got {version!r}")


def _fits(text: str, form: Form) -> None:
    if not form.pattern.fullmatch(text):
        raise ConfigurationError(f"{text[:200]!r} is not {form.words}")


def _compile(name: str, contract: Mapping[str, Any]) -> None:
    try:
        Contract(contract)
    except ConfigurationError as error:
        raise ConfigurationError(f"job type {name}: {error}") from error
