"""A job's row as a change is decided on, and what each change makes of it: pure but for reading
the row and keeping its history.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from observatory.backends.sqlite.sql import statement
from observatory.core.errors import NotFound
from observatory.core.failure import fingerprint
from observatory.core.job import ClaimedJob, FinishedAttempt, Submission, Transition
from observatory.core.lifecycle import (
    TERMINAL,
    ErrorInfo,
    Move,
    OutcomeKind,
    Standing,
    State,
    after,
    decide,
)

_SELECT_CURRENT: Final = statement("select_current")

_ERROR_MESSAGE_CHARS_MAX: Final = 1000
"""An error's message in a job's row; the history keeps it whole."""

_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """What a change of a job depends on, in the order of `select_current.sql`."""

    seq: int
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
    correlation_id: str
    contract_version: int
    idempotency_key: str | None
    traceparent: str | None
    tracestate: str | None
    parent_id: str | None
    scheduled_at: int | None

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
        return Transition(
            job=self.id,
            version=self.version + 1,
            move=move,
            at=at,
            type=self.type,
            queue=self.queue,
            priority=self.priority,
            attempt=self.attempt if attempt is None else attempt,
            state=after(state, move),
            previous=state,
            since=since,
            reason=reason,
            outcome=outcome,
            worker=worker,
            scheduled_at=scheduled_at,
            error=error,
            suspect=self.crashes > 0 if suspect is None else suspect,
            contract_version=self.contract_version,
            correlation_id=self.correlation_id,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
        )


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


def ending(row: Row, attempt: FinishedAttempt, now: int) -> tuple[tuple[Any, ...], Transition]:
    """What recording an attempt's outcome changes: the values of `finish_job.sql`, and the
    transition."""
    decision = decide(
        attempt.outcome,
        Standing(row.failures, row.crashes, row.max_attempts),
        attempt.retry,
        attempt.jitter,
    )
    move = decision.move
    if row.cancel_requested_at is not None and move in (Move.SCHEDULE_RETRY, Move.RELEASE):
        # First committed transition wins: a run that ended well has; one to be run again has not.
        move = Move.CANCEL
    due = now + decision.delay_us if move is Move.SCHEDULE_RETRY and decision.delay_us else None
    if move is Move.SCHEDULE_RETRY and due is None:
        due = now
    error = attempt.error if move is not Move.COMPLETE else None
    transition = row.transition(
        move,
        now,
        row.started_at,
        reason="requested" if move is Move.CANCEL else decision.reason,
        outcome=attempt.outcome,
        worker=row.worker,
        scheduled_at=due,
        error=error,
        suspect=decision.crashes > 0,
    )
    state = transition.state
    terminal = state in TERMINAL
    message = error.message[:_ERROR_MESSAGE_CHARS_MAX] if error else None
    update = (
        row.seq,
        state,
        transition.version,
        decision.failures,
        decision.crashes,
        now if state is State.QUEUED else row.queued_at,
        row.scheduled_at if due is None else due,
        now if terminal else None,
        error.type if error else None,
        message,
        fingerprint(row.type, error.type, error.message) if error else None,
    )
    return update, transition


def claimed_job(row: Row, payload: str) -> ClaimedJob:
    """What a worker is given of a job it has claimed."""
    return ClaimedJob(
        id=row.id,
        type=row.type,
        queue=row.queue,
        attempt=row.attempt + 1,
        payload=payload,
        failures=row.failures,
        crashes=row.crashes,
        max_attempts=row.max_attempts,
        timeout_s=row.timeout_s,
        contract_version=row.contract_version,
        correlation_id=row.correlation_id,
        traceparent=row.traceparent,
    )


def current_rows(db: sqlite3.Connection, ids: Iterable[str]) -> list[Row]:
    """The rows of these jobs, as far as they exist."""
    return [Row(*row) for row in db.execute(_SELECT_CURRENT, (_encode(list(ids)).decode(),))]


def one_row(db: sqlite3.Connection, job_id: str) -> Row:
    """The row of a job.

    Raises:
        NotFound: there is none.
    """
    rows = current_rows(db, [job_id])
    if not rows:
        raise NotFound(f"there is no job {job_id}")
    return rows[0]


def keep_history(db: sqlite3.Connection, kept: Iterable[tuple[int, Transition]]) -> None:
    """Record transitions under their jobs' sequence numbers."""
    db.executemany(
        "INSERT INTO history VALUES (?, ?, ?)",
        [(seq, t.version, _encode(t).decode()) for seq, t in kept],
    )
