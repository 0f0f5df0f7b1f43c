"""Rows of jobs on their way between the database and the rules of `core/change.py`."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction
from observatory.core.change import Current, Ending
from observatory.core.errors import NotFound
from observatory.core.job import Submission, Transition
from observatory.core.lifecycle import State

_SELECT_CURRENT: Final = statement("lock_jobs") + statement("select_current")
_SELECT_CLAIMABLE: Final = statement("lock_jobs") + statement("select_claimable")

_SKEW_US: Final = 60 * 1_000_000
"""How far the time in a job's id may be off the store's clock."""

is_id: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
"""Whether a text can be a job's id; no other has a row."""

encode: Final = msgspec.json.Encoder().encode


def current_rows(db: Transaction, ids: Iterable[str]) -> list[Current]:
    """The rows of these jobs, as far as they exist, in the order of their ids, locked."""
    rows: list[Current] = []
    for *row, clock in db.execute(_SELECT_CURRENT, (_joined(ids),)):
        rows.append(Current(*row))
        db.saw(clock)
    return rows


def claimable_rows(
    db: Transaction, ids: Iterable[str], worker: str
) -> list[tuple[Current, str | None]]:
    """Like `current_rows`, with the payloads of jobs that are queued; none for a dead worker."""
    rows: list[tuple[Current, str | None]] = []
    for *row, payload, clock in db.execute(_SELECT_CLAIMABLE, (_joined(ids), worker)):
        rows.append((Current(*row), payload))
        db.saw(clock)
    return rows


def one_row(db: Transaction, job_id: str) -> Current:
    """The row of a job, locked.

    Raises:
        NotFound: there is none.
    """
    rows = current_rows(db, [job_id])
    if not rows:
        raise NotFound(f"there is no job {job_id}")
    return rows[0]


def _joined(ids: Iterable[str]) -> str:
    return ",".join(id for id in ids if is_id(id))


class AcceptedRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A new job, for `accept_jobs.sql`."""

    id: str
    type: str
    queue: str
    priority: str
    state: State | None
    max_attempts: int
    contract_version: int
    skewed: bool
    created_at: int
    ready_at: int
    correlation_id: str
    body: str
    document: str
    timeout_s: float | None = None
    scheduled_at: int | None = None
    queued_at: int | None = None
    parent_id: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class ClaimedRow(msgspec.Struct, frozen=True):
    """A job that was claimed, for `claim_jobs.sql`."""

    id: str
    version: int
    attempt: int
    started_at: int
    worker: str
    body: str


class QueuedRow(msgspec.Struct, frozen=True):
    """A job that is queued (again), for `queue_jobs.sql`."""

    id: str
    version: int
    queued_at: int
    failures: int
    crashes: int
    body: str


class EndedRow(Ending, frozen=True, omit_defaults=True):
    """A run that ended, or a job that was cancelled, for `finish_jobs.sql`."""

    body: str = ""
    document: str | None = None


def accepted_row(s: Submission, t: Transition) -> AcceptedRow:
    """The row of a submission."""
    return AcceptedRow(
        id=s.id,
        type=s.type,
        queue=s.queue,
        priority=s.priority,
        state=t.state,
        max_attempts=s.max_attempts,
        contract_version=s.contract_version,
        skewed=abs(id_time(s.id) - t.at) > _SKEW_US,
        created_at=t.at,
        ready_at=t.scheduled_at or t.at,
        correlation_id=s.correlation_id,
        body=body(t),
        document=s.payload,
        timeout_s=s.timeout_s,
        scheduled_at=t.scheduled_at,
        queued_at=None if t.scheduled_at else t.at,
        parent_id=s.parent_id,
        idempotency_key=s.idempotency_key,
        traceparent=s.traceparent,
        tracestate=s.tracestate,
    )


def ended_row(row: Ending, t: Transition, document: str | None = None) -> EndedRow:
    """An ending with its history."""
    return EndedRow(
        row.id, row.state, row.version, row.failures, row.crashes, row.queued_at,
        row.scheduled_at, row.finished_at, row.error_type, row.error_message,
        row.error_fingerprint, row.cancel_reason, body(t), document,
    )  # fmt: skip


def body(t: Transition) -> str:
    """A transition as the history keeps it."""
    return encode(t).decode()


def document(rows: Sequence[Any]) -> str:
    """Rows as the one JSON document that a statement takes."""
    return encode(rows).decode()


# Ids hold the time they were made at (UUIDv7, in milliseconds), which makes a condition on
# created_at one on the primary key, as long as both clocks agree.


def id_time(job_id: str) -> int:
    """When an id was made, in microseconds; 0 for one that does not say."""
    return int(job_id[:8] + job_id[9:13], 16) * 1000 if job_id[14:15] == "7" else 0


def id_at(instant: int) -> str:
    """The lowest id of an instant, in microseconds."""
    digits = f"{min(max(instant // 1000, 0), 2**48 - 1):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


def ids_between(since: int | None, until: int | None) -> tuple[str | None, str | None]:
    """Bounds of the ids of jobs created from `since` to before `until` that are not skewed."""
    return (
        None if since is None else id_at(since - _SKEW_US),
        None if until is None else id_at(until + _SKEW_US + 1000),
    )
