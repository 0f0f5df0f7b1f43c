"""Jobs as they are shown: the job, its attempts, its events."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from observatory.core.event import Event, events_of
from observatory.core.instant import optional_rfc3339, seconds_between, to_rfc3339
from observatory.core.job import Job, JobLogLine, Transition
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State
from observatory.core.trace_context import trace_id_of

_SHOWN_OUTCOME: Final = {
    OutcomeKind.COMPLETED: "completed",
    OutcomeKind.ERROR: "failed",
    OutcomeKind.NOT_RETRYABLE: "failed",
    OutcomeKind.UNSERIALISABLE: "failed",
    OutcomeKind.TIMEOUT: "timeout",
    OutcomeKind.LOST: "lost",
    OutcomeKind.RELEASED: "released",
    OutcomeKind.CANCELLED: "cancelled",
}


def summary(job: Job) -> dict[str, Any]:
    """A job in a list: without payload, result and traceback."""
    progress = job.progress
    return {
        "id": job.id,
        "type": job.type,
        "queue": job.queue,
        "priority": job.priority,
        "state": job.state,
        "attempt": job.attempt,
        "maxAttempts": job.max_attempts,
        "createdAt": to_rfc3339(job.created_at),
        "scheduledAt": optional_rfc3339(job.scheduled_at),
        "queuedAt": optional_rfc3339(job.queued_at),
        "startedAt": optional_rfc3339(job.started_at),
        "finishedAt": optional_rfc3339(job.finished_at),
        "error": None
        if job.error is None
        else {"type": job.error.type, "message": job.error.message},
        "worker": job.worker,
        "correlationId": job.correlation_id,
        "parentId": job.parent_id,
        "contractVersion": job.contract_version,
        "progress": None
        if progress is None
        else {
            "fraction": progress.fraction,
            "message": progress.message,
            "at": to_rfc3339(progress.at),
        },
        "version": job.version,
        "failures": job.failures,
        "crashes": job.crashes,
        "timeoutSeconds": job.timeout_s,
        "cancelRequestedAt": optional_rfc3339(job.cancel_requested_at),
        "cancelReason": job.cancel_reason,
        "idempotencyKey": job.idempotency_key,
    }


def detail(job: Job) -> dict[str, Any]:
    """A whole job. Payload and result are passed on as the JSON they are kept as."""
    shown = summary(job)
    shown["payload"] = _raw(job.payload)
    shown["result"] = _raw(job.result)
    shown["error"] = _error(job.error)
    shown["traceId"] = trace_id_of(job.traceparent)
    return shown


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def _error(error: ErrorInfo | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"type": error.type, "message": error.message, "traceback": error.traceback}


def attempts(history: Sequence[Transition]) -> list[dict[str, Any]]:
    """The runs of a job, from the transitions that start and end them."""
    shown: list[dict[str, Any]] = []
    for t in history:
        if t.move is Move.CLAIM:
            shown.append(_started(t))
        elif t.previous is State.RUNNING and shown:
            shown[-1] |= _ended(t)
    return shown


def _started(t: Transition) -> dict[str, Any]:
    return {
        "attempt": t.attempt,
        "outcome": None,
        "worker": t.worker,
        "queuedAt": to_rfc3339(t.at if t.since is None else t.since),
        "startedAt": to_rfc3339(t.at),
        "finishedAt": None,
        "waitSeconds": seconds_between(t.since, t.at) or 0.0,
        "runSeconds": None,
        "error": None,
        "retryAt": None,
    }


def _ended(t: Transition) -> dict[str, Any]:
    outcome = t.outcome or OutcomeKind.CANCELLED
    return {
        "outcome": _SHOWN_OUTCOME[outcome],
        "finishedAt": to_rfc3339(t.at),
        "runSeconds": seconds_between(t.since, t.at) or 0.0,
        "error": _error(t.error),
        "retryAt": optional_rfc3339(t.scheduled_at),
    }


def job_events(history: Sequence[Transition], source: str) -> list[Event]:
    """The events of a job, equal to those in the log up to their source."""
    return [event for t in history for event in events_of(t, source)]


def log_line(line: JobLogLine, trace_id: str | None) -> dict[str, Any]:
    """A line a handler wrote, in a run that belongs to this trace."""
    return {
        "attempt": line.attempt,
        "at": to_rfc3339(line.at),
        "level": line.level,
        "message": line.message,
        "fields": line.fields,
        "traceId": trace_id,
    }
