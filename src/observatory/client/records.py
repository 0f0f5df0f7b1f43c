"""What the client sends and reads: plain data, shaped as `contracts/` says."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, TypedDict

import msgspec

Json: TypeAlias = dict[str, Any]

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
"""As the contract of the job says; the client does not decide on transitions."""


class JobError(msgspec.Struct, frozen=True):
    """What an attempt failed with; lists of jobs leave the traceback out."""

    type: str
    message: str
    traceback: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A job as the read model tells it; fields that are new in a newer server are ignored.

    Jobs from a list have neither `payload` nor `result`.
    """

    id: str
    type: str
    queue: str
    state: str
    priority: str = "normal"
    attempt: int = 0
    max_attempts: int = 0
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    payload: Json | None = None
    result: Any = None
    error: JobError | None = None
    worker: str | None = None
    correlation_id: str | None = None
    parent_id: str | None = None
    contract_version: int = 1
    progress: Json | None = None
    version: int = 0
    failures: int = 0
    crashes: int = 0
    timeout_seconds: float | None = None
    cancel_requested_at: datetime | None = None
    cancel_reason: str | None = None
    idempotency_key: str | None = None
    trace_id: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the state is terminal."""
        return self.state in TERMINAL


class EventRecord(msgspec.Struct, frozen=True):
    """One event of the log, a CloudEvent, and its position: what to resume after."""

    position: str
    event: Json


class SubmitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is to be run. Apart from the payload, whose names are the job type's own."""

    idempotency_key: str | None = None
    queue: str | None = None
    priority: Literal["high", "normal", "low"] | None = None
    delay: float | None = None
    """Seconds from now until it may run."""
    scheduled_at: datetime | str | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    """Seconds one attempt may take."""
    correlation_id: str | None = None
    parent_id: str | None = None
    contract_version: int | None = None


class Submission(msgspec.Struct, frozen=True):
    """One job of `submit_many`."""

    type: str
    payload: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    options: SubmitOptions = msgspec.field(default_factory=SubmitOptions)


class JobFilter(TypedDict, total=False):
    """What `jobs()` can be narrowed by; states may be several."""

    state: str | Sequence[str]
    type: str
    queue: str
    worker: str
    correlation_id: str
    parent_id: str
    fingerprint: str
    since: datetime | str
    until: datetime | str
    q: str
