"""Events: CloudEvents 1.0 envelopes made from transitions, with ids that recognise a repeat.

The id of an event is a UUIDv5 (RFC 9562, section 5.5) of the job and its version, so whoever
publishes a transition again publishes the same id. Sources: CloudEvents 1.0.2 core and JSON
format; the documented extensions distributed tracing, sequence and correlation.
"""

from typing import Any, Final
from uuid import UUID

import msgspec
import uuid_utils

from observatory.core.contract_references import CONTRACTS_URI
from observatory.core.instant import seconds_between, to_rfc3339
from observatory.core.job import Commit, ProgressReport, Transition, WorkerRecord
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State

_NAMESPACE: Final = uuid_utils.UUID("5f9e3a52-6d0e-5d8c-9a5e-6b2f0c7d1e90")

_MESSAGE_CHARS_MAX: Final = 4000
"""An error message in an event is cut here; the store keeps it whole. It is the only part that
could take an event beyond the 64 KiB that every intermediary forwards (CloudEvents 1.0.2, section
5)."""

TYPE_OF_MOVE: Final = {
    Move.ACCEPT: "job.created",
    Move.DEFER: "job.created",
    Move.PROMOTE: "job.queued",
    Move.RELEASE: "job.queued",
    Move.REQUEUE_BY_OPERATOR: "job.queued",
    Move.CLAIM: "job.started",
    Move.COMPLETE: "job.completed",
    Move.SCHEDULE_RETRY: "job.retrying",
    Move.FAIL: "job.failed",
    Move.CANCEL: "job.cancelled",
    Move.PRUNE: "job.pruned",
}
"""Which event tells of a move."""

_QUEUED_REASON: Final = {
    Move.PROMOTE: "promoted",
    Move.RELEASE: "released",
    Move.REQUEUE_BY_OPERATOR: "retried",
}


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvents 1.0 envelope in structured JSON mode; attribute names are CloudEvents' own."""

    specversion: str = msgspec.field(default_factory=lambda: "1.0")
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = msgspec.field(default_factory=lambda: "application/json")
    dataschema: str
    sequence: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    idempotencykey: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    data: dict[str, Any]


_encoder = msgspec.json.Encoder()


def event_id(job: str, version: int, kind: str = "") -> str:
    """The id of the event of one transition; `kind` tells apart a second event of the same one."""
    name = f"{job}:{version}:{kind}" if kind else f"{job}:{version}"
    return str(uuid_utils.uuid5(_NAMESPACE, name))


def events_of(transition: Transition, source: str) -> list[Event]:
    """The events of a transition: one, or two where an attempt failed and the job goes on."""
    events: list[Event] = []
    if transition.outcome in _FAILED_ATTEMPT:
        events.append(
            _envelope(transition, "job.attempt_failed", source, _attempt_failed(transition))
        )
    kind = TYPE_OF_MOVE[transition.move]
    events.append(_envelope(transition, kind, source, _data(transition, kind)))
    return events


def events_in(transition: Transition) -> int:
    """How many events a transition makes."""
    return 2 if transition.outcome in _FAILED_ATTEMPT else 1


_FAILED_ATTEMPT: Final = frozenset(
    {
        OutcomeKind.ERROR,
        OutcomeKind.TIMEOUT,
        OutcomeKind.NOT_RETRYABLE,
        OutcomeKind.UNSERIALISABLE,
        OutcomeKind.LOST,
    }
)


def _envelope(t: Transition, kind: str, source: str, data: dict[str, Any]) -> Event:
    second = "attempt_failed" if kind == "job.attempt_failed" else ""
    return Event(
        id=event_id(t.job, t.version, second),
        source=source,
        type=kind,
        subject=t.job,
        time=to_rfc3339(t.at),
        dataschema=f"{CONTRACTS_URI}events/{kind}.v1.json",
        sequence=str(t.version),
        correlationid=t.correlation_id,
        causationid=t.causation_id,
        idempotencykey=t.idempotency_key,
        traceparent=t.traceparent,
        tracestate=t.tracestate,
        data=data,
    )


def _data(t: Transition, kind: str) -> dict[str, Any]:
    data = _common(t)
    match kind:
        case "job.created":
            data["maxAttempts"] = t.max_attempts
            data["scheduledAt"] = None if t.scheduled_at is None else to_rfc3339(t.scheduled_at)
            data["contractVersion"] = t.contract_version
            data["parentId"] = t.parent_id
        case "job.queued":
            data["reason"] = _QUEUED_REASON[t.move]
        case "job.started":
            data["worker"] = t.worker
            data["waitSeconds"] = seconds_between(t.since, t.at)
        case "job.completed":
            data["worker"] = t.worker
            data["runSeconds"] = seconds_between(t.since, t.at)
            data["endToEndSeconds"] = seconds_between(t.ready_at, t.at)
        case "job.retrying":
            data["reason"] = t.reason
            data["scheduledAt"] = None if t.scheduled_at is None else to_rfc3339(t.scheduled_at)
            data["delaySeconds"] = seconds_between(t.at, t.scheduled_at)
            data["error"] = _error(t.error)
        case "job.failed":
            data["reason"] = t.reason
            data["error"] = _error(t.error)
            data["endToEndSeconds"] = seconds_between(t.ready_at, t.at)
        case "job.cancelled":
            data["reason"] = t.reason
            data["endToEndSeconds"] = seconds_between(t.ready_at, t.at)
        case _:
            pass
    return data


def _common(t: Transition) -> dict[str, Any]:
    return {
        "jobId": t.job,
        "jobType": t.type,
        "queue": t.queue,
        "priority": t.priority,
        "state": t.state,
        "previousState": t.previous,
        "attempt": t.attempt,
        "version": t.version,
    }


def _attempt_failed(t: Transition) -> dict[str, Any]:
    return {
        **_common(t),
        "worker": t.worker,
        "runSeconds": seconds_between(t.since, t.at),
        "reason": t.outcome,
        "error": _error(t.error),
    }


def _error(error: ErrorInfo | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"type": error.type, "message": error.message[:_MESSAGE_CHARS_MAX]}


def progress_event(report: ProgressReport, job_type: str, queue: str, source: str) -> Event:
    """The event of a progress report: no transition, so it changes no version and no aggregate."""
    return Event(
        id=event_id(report.job, report.at, "progress"),
        source=source,
        type="job.progressed",
        subject=report.job,
        time=to_rfc3339(report.at),
        dataschema=f"{CONTRACTS_URI}events/job.progressed.v1.json",
        data={
            "jobId": report.job,
            "jobType": job_type,
            "queue": queue,
            "state": State.RUNNING,
            "attempt": report.attempt,
            "fraction": report.fraction,
            "message": report.message,
        },
    )


def worker_event(kind: str, worker: WorkerRecord, at: int, source: str) -> Event:
    """An event about a worker: `kind` is started, heartbeat, stopped or lost."""
    return Event(
        id=event_id(worker.id, at, kind),
        source=source,
        type=f"worker.{kind}",
        subject=worker.id,
        time=to_rfc3339(at),
        dataschema=f"{CONTRACTS_URI}events/worker.{kind}.v1.json",
        data={
            "worker": worker.id,
            "host": worker.host,
            "pid": worker.pid,
            "concurrency": worker.concurrency,
            "running": worker.running,
        },
    )


def queue_event(kind: str, queue: str, by: str | None, at: int, source: str) -> Event:
    """An event about a queue: `kind` is paused or resumed; `by` is who asked for it."""
    return Event(
        id=event_id(queue, at, kind),
        source=source,
        type=f"queue.{kind}",
        subject=queue,
        time=to_rfc3339(at),
        dataschema=f"{CONTRACTS_URI}events/queue.{kind}.v1.json",
        data={"queue": queue, "by": by},
    )


def encode_batch(events: list[Event]) -> bytes:
    """CloudEvents JSON batch format (``application/cloudevents-batch+json``)."""
    return _encoder.encode(events)


def encode_commit(commit: Commit, source: str) -> bytes:
    """The events of a commit, as one batch."""
    return _encoder.encode([e for t in commit.transitions for e in events_of(t, source)])


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its canonical spelling."""
    if len(text) != 36:
        return False
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
