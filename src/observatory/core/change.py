"""What a change makes of a job's row: pure, the same for every store.

A store reads the rows concerned as `Current`, asks here, and writes what it is told.
"""

from typing import Final, NamedTuple

import msgspec

from observatory.core.errors import IllegalTransition
from observatory.core.failure import fingerprint
from observatory.core.job import ClaimedJob, FinishedAttempt, Reference, Submission, Transition
from observatory.core.job_type import Retry
from observatory.core.lifecycle import (
    POISON,
    SUSPECT_CRASHES,
    TERMINAL,
    ErrorInfo,
    Move,
    OutcomeKind,
    Standing,
    State,
    after,
    decide,
)

_ERROR_MESSAGE_CHARS_MAX: Final = 1000
"""An error's message in a job's row; the history keeps it whole."""


class Current(NamedTuple):
    """What a change of a job depends on."""

    id: str
    type: str
    queue: str
    priority: str
    state: str
    attempt: int
    failures: int
    crashes: int
    version: int
    max_attempts: int
    timeout_s: float | None
    queued_at: int | None
    started_at: int | None
    worker: str | None
    cancel_requested_at: int | None
    cancel_reason: str | None
    correlation_id: str
    contract_version: int
    traceparent: str | None
    tracestate: str | None
    scheduled_at: int | None
    ready_at: int | None

    def transition(
        self,
        move: Move,
        at: int,
        since: int | None,
        *,
        attempt: int | None = None,
        reason: str | None = None,
        outcome: OutcomeKind | None = None,
        worker: str | None = None,
        scheduled_at: int | None = None,
        error: ErrorInfo | None = None,
        suspect: bool | None = None,
    ) -> Transition:
        """The transition that this move makes from here.

        Raises:
            IllegalTransition: the table does not list it.
        """
        state = State(self.state)
        following = after(state, move)
        ready_at = self.ready_at if following in TERMINAL else None
        return Transition(
            job=self.id,
            version=self.version + 1,
            move=move,
            at=at,
            type=self.type,
            queue=self.queue,
            priority=self.priority,
            attempt=self.attempt if attempt is None else attempt,
            state=following,
            previous=state,
            since=since,
            ready_at=None if ready_at is None or ready_at > at else ready_at,
            reason=reason,
            outcome=outcome,
            worker=worker,
            scheduled_at=scheduled_at,
            error=error,
            suspect=self.crashes >= SUSPECT_CRASHES if suspect is None else suspect,
            contract_version=self.contract_version,
            correlation_id=self.correlation_id,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
        )


class Ending(msgspec.Struct, frozen=True):
    """The columns of a job's row that the end of an attempt, or a cancellation, sets."""

    id: str
    state: State
    version: int
    failures: int
    crashes: int
    queued_at: int | None
    scheduled_at: int | None
    finished_at: int | None
    error_type: str | None = None
    error_message: str | None = None
    error_fingerprint: str | None = None
    cancel_reason: str | None = None
    """Set by a cancellation; what was set before stays."""


def acceptance(s: Submission, now: int) -> Transition:
    """The first transition of a submitted job."""
    due = s.scheduled_at if s.delay_us is None else now + s.delay_us
    later = due is not None and due > now
    move = Move.DEFER if later else Move.ACCEPT
    return Transition(
        job=s.id,
        version=1,
        move=move,
        at=now,
        type=s.type,
        queue=s.queue,
        priority=s.priority,
        attempt=0,
        state=after(None, move),
        scheduled_at=due if later else None,
        max_attempts=s.max_attempts,
        contract_version=s.contract_version,
        parent_id=s.parent_id,
        correlation_id=s.correlation_id,
        causation_id=s.causation_id,
        idempotency_key=s.idempotency_key,
        traceparent=s.traceparent,
        tracestate=s.tracestate,
    )


def owns(job: Current, attempt: FinishedAttempt, worker: str) -> bool:
    """Whether this attempt is the one under way, and the worker is who runs it."""
    return job.state == State.RUNNING and job.attempt == attempt.attempt and job.worker == worker


def lost(job: Current, retry: Retry | None, jitter: float) -> FinishedAttempt:
    """The outcome of a run whose worker has died."""
    return FinishedAttempt(
        job=job.id,
        attempt=job.attempt,
        outcome=OutcomeKind.LOST,
        retry=retry or Retry(),
        jitter=jitter,
        error=ErrorInfo("WorkerLost", f"the worker {job.worker} died during the run"),
    )


def ending(job: Current, attempt: FinishedAttempt, now: int) -> tuple[Ending, Transition]:
    """What recording an attempt's outcome changes."""
    decision = decide(
        attempt.outcome,
        Standing(job.failures, job.crashes, job.max_attempts),
        attempt.retry,
        attempt.jitter,
    )
    move = decision.move
    if job.cancel_requested_at is not None and move in (Move.SCHEDULE_RETRY, Move.RELEASE):
        # First committed transition wins: a run that ended well has; one to be run again has not.
        move = Move.CANCEL
    due = now + (decision.delay_us or 0) if move is Move.SCHEDULE_RETRY else None
    error = attempt.error if move is not Move.COMPLETE else None
    if error is not None and decision.reason == POISON:
        error = msgspec.structs.replace(
            error,
            message=f"{error.message}; {decision.crashes} workers have died while running this "
            "job, so it is poison and is not run again by itself",
        )
    transition = job.transition(
        move,
        now,
        job.started_at,
        reason=(job.cancel_reason or "requested") if move is Move.CANCEL else decision.reason,
        outcome=attempt.outcome,
        worker=job.worker,
        scheduled_at=due,
        error=error,
        suspect=decision.crashes >= SUSPECT_CRASHES,
    )
    state = State(transition.state or job.state)
    row = Ending(
        id=job.id,
        state=state,
        version=transition.version,
        failures=decision.failures,
        crashes=decision.crashes,
        queued_at=now if state is State.QUEUED else job.queued_at,
        scheduled_at=job.scheduled_at if due is None else due,
        finished_at=now if state in TERMINAL else None,
        error_type=error.type if error else None,
        error_message=error.message[:_ERROR_MESSAGE_CHARS_MAX] if error else None,
        error_fingerprint=fingerprint(job.type, error.type, error.message) if error else None,
    )
    return row, transition


def expect(job: Current, version: int | None) -> None:
    """See that nothing has happened to a job since somebody saw it.

    Raises:
        IllegalTransition: it is not at this version any more.
    """
    if version is not None and job.version != version:
        raise IllegalTransition(f"the job has changed since version {version}; it is {job.state}")


def cancellation(job: Current, reason: str | None, now: int) -> tuple[Ending, Transition]:
    """What cancelling a waiting job changes."""
    since = job.queued_at if job.state == State.QUEUED else None
    transition = job.transition(Move.CANCEL, now, since, reason=reason)
    row = Ending(
        id=job.id,
        state=State.CANCELLED,
        version=transition.version,
        failures=job.failures,
        crashes=job.crashes,
        queued_at=job.queued_at,
        scheduled_at=job.scheduled_at,
        finished_at=now,
        cancel_reason=reason,
    )
    return row, transition


def owns_claim(job: Current, reference: Reference, worker: str) -> bool:
    """Whether the job is running because this worker claimed it by this reference."""
    return (
        job.state == State.RUNNING and job.attempt == reference.attempt + 1 and job.worker == worker
    )


def claimed_job(job: Current, payload: str, attempt: int, started_at: int | None) -> ClaimedJob:
    """What a worker is given of a job that it has claimed as this attempt."""
    return ClaimedJob(
        id=job.id,
        type=job.type,
        queue=job.queue,
        attempt=attempt,
        payload=payload,
        failures=job.failures,
        crashes=job.crashes,
        max_attempts=job.max_attempts,
        timeout_s=job.timeout_s,
        contract_version=job.contract_version,
        correlation_id=job.correlation_id,
        traceparent=job.traceparent,
        tracestate=job.tracestate,
        queued_at=job.queued_at,
        started_at=started_at,
    )
