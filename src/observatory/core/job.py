"""Records of jobs: as submitted, as kept, as claimed, and each transition between states.

All are plain data. Times are `Instant` (microseconds since the epoch, UTC). Documents (payload,
result) stay the JSON text they arrived as, so that nothing is lost by decoding and encoding.
"""

from typing import Any

import msgspec

from observatory.core.job_type import Retry
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A validated request to run something, ready to be recorded."""

    id: str
    type: str
    queue: str
    priority: str
    payload: str
    max_attempts: int
    timeout_s: float | None
    contract_version: int
    correlation_id: str
    causation_id: str | None = None
    parent_id: str | None = None
    scheduled_at: int | None = None
    delay_us: int | None = None
    idempotency_key: str | None = None
    idempotency_scope: str = ""
    """Who used the key: two holders of API keys never meet each other's."""
    fingerprint: str | None = None
    """Of the body, to tell a repeat from a reuse of the key."""
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def scoped_key(self) -> str | None:
        """The idempotency key as it is unique in the store."""
        if self.idempotency_key is None:
            return None
        return f"{self.idempotency_scope} {self.idempotency_key}"


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of one job's state: the unit of the history, of events and of aggregates."""

    job: str
    version: int
    move: Move
    at: int
    type: str
    queue: str
    priority: str
    attempt: int
    state: State | None = None
    previous: State | None = None
    reason: str | None = None
    outcome: OutcomeKind | None = None
    """How the attempt ended, on a transition that ends one."""
    worker: str | None = None
    scheduled_at: int | None = None
    since: int | None = None
    """When the state that this transition leaves was entered."""
    ready_at: int | None = None
    """When the job was first to run, on a transition that ends it: when it was accepted, or when it
    fell due; where an operator had it run again, when that was. None where it ended before."""
    suspect: bool = False
    """Workers have died while running the job, so often that it runs apart from others like it."""
    error: ErrorInfo | None = None
    max_attempts: int = 0
    contract_version: int = 1
    parent_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class Commit(msgspec.Struct, frozen=True):
    """What one transaction of the store recorded, and its number in its publisher's sequence."""

    publisher: str
    number: int
    transitions: tuple[Transition, ...]


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """A job as named by a work message: claimable while its attempt count is still this one."""

    id: str
    attempt: int
    type: str
    contract_version: int
    suspect: bool = False


class ClaimedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that this worker owns from now on, with what is needed to run it."""

    id: str
    type: str
    queue: str
    attempt: int
    payload: str
    failures: int
    crashes: int
    max_attempts: int
    timeout_s: float | None
    contract_version: int
    correlation_id: str
    traceparent: str | None


class FinishedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, as its worker reports it."""

    job: str
    attempt: int
    outcome: OutcomeKind
    retry: Retry
    jitter: float
    result: str | None = None
    error: ErrorInfo | None = None


class ProgressReport(msgspec.Struct, frozen=True):
    """How far a run is: a fraction of 1 or None, and a message."""

    job: str
    attempt: int
    at: int
    fraction: float | None
    message: str | None


class JobLogLine(msgspec.Struct, frozen=True):
    """One line a handler wrote about its run."""

    job: str
    attempt: int
    at: int
    level: str
    message: str
    fields: dict[str, Any]


class Progress(msgspec.Struct, frozen=True):
    """The last progress reported for a job."""

    at: int
    fraction: float | None
    message: str | None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the store keeps it. `payload` and `result` are JSON text, None in summaries."""

    id: str
    type: str
    queue: str
    priority: str
    state: State
    attempt: int
    failures: int
    crashes: int
    version: int
    max_attempts: int
    timeout_s: float | None
    created_at: int
    scheduled_at: int | None
    queued_at: int | None
    started_at: int | None
    finished_at: int | None
    worker: str | None
    cancel_requested_at: int | None
    cancel_reason: str | None
    """What whoever cancelled it gave as the reason."""
    correlation_id: str
    parent_id: str | None
    contract_version: int
    idempotency_key: str | None
    progress: Progress | None
    error: ErrorInfo | None
    payload: str | None = None
    result: str | None = None


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One running instance of a processor, by its heartbeat."""

    id: str
    host: str
    pid: int
    started_at: int
    seen_at: int
    state: str
    """active, draining or stopped; a reader adds stale."""
    concurrency: int
    running: int
    queues: tuple[str, ...]
    job_types: tuple[str, ...]
