"""The store: the authoritative record of jobs.

Implemented in `backends/sqlite/` and `backends/postgres/`; what every implementation must do is in
`tests/conformance/`: `test_store.py`, `test_store_reads.py`, `test_store_liveness.py`,
`test_store_totals.py` and `test_refused_rows.py`.

Every method that changes jobs does so in one transaction that also records the history of each
transition and one outbox row with the publisher's next number; it returns that as a `Commit`, or
None where nothing changed. All decisions use the store's own clock. Every method may raise
`StoreUnavailable`; one that writes, `RowRefused` where the data are at fault.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from observatory.core.aggregates import Deltas
from observatory.core.job import (
    ClaimedJob,
    Commit,
    FinishedAttempt,
    Job,
    JobLogLine,
    ProgressReport,
    Reference,
    Submission,
    Transition,
    WorkerRecord,
)
from observatory.core.job_type import JobType
from observatory.core.lifecycle import State


class Accepted(msgspec.Struct, frozen=True):
    """A submission was recorded, or had been before under the same Idempotency-Key."""

    job_id: str
    replayed: bool = False


class KeyReused(msgspec.Struct, frozen=True):
    """The Idempotency-Key belongs to another body."""

    job_id: str


class Cancellation(msgspec.Struct, frozen=True):
    """What a cancellation did: the state after it; `requested_at` while the job still runs."""

    state: State
    version: int
    requested_at: int | None


class Pulse(msgspec.Struct, frozen=True):
    """The answer to a heartbeat."""

    known: bool
    """False: this worker was declared dead; it must stop what it runs."""
    cancel: tuple[tuple[str, int], ...]
    """(job, attempt) of this worker's runs that should end."""


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a list shows; all conditions hold together."""

    states: tuple[State, ...] = ()
    type: str | None = None
    queue: str | None = None
    worker: str | None = None
    correlation_id: str | None = None
    parent_id: str | None = None
    error_fingerprint: str | None = None
    since: int | None = None
    until: int | None = None


class Found(msgspec.Struct, frozen=True):
    """A stretch of a search: what was found in it, newest first, and the id down to which it went;
    None where there is nothing further down."""

    jobs: list[Job]
    reached: str | None


class FailureGroup(msgspec.Struct, frozen=True):
    """Jobs that fail alike: same job type, error type and message with its numbers taken out."""

    fingerprint: str
    error_type: str
    message: str
    type: str
    failed: int
    retrying: int
    first_seen_at: int
    """The longest ago that a job of them last failed; one that fails again counts anew."""
    last_seen_at: int
    sample_job: str
    last_hour: int
    """Of the failed ones, those of the last hour. One that is retried fails again and again, and
    would count as new each time."""
    hour_before: int
    """And those of the hour before that."""


class Snapshot(msgspec.Struct, frozen=True):
    """The whole record as aggregates, and every publisher's last number, at one point in time."""

    deltas: Deltas
    numbers: dict[str, int]


class Backlog(msgspec.Struct, frozen=True):
    """What waits in the outbox to be published."""

    commits: int
    """How many; more than `BACKLOG_COUNTED_MAX` are told as that."""
    oldest_at: int | None
    """When the first of them was made; None where nothing waits."""


class Workforce(msgspec.Struct, frozen=True):
    """The workers of the last day, by what they are now, and the slots of those that live."""

    active: int
    draining: int
    stale: int
    """Declared dead, or not seen for a lease."""
    busy_slots: int
    free_slots: int
    """Of active workers: one that drains claims no more."""


WORKERS_SHOWN_US: Final = 24 * 3600 * 1_000_000
"""Workers that ended longer ago are not shown."""

BACKLOG_COUNTED_MAX: Final = 100_000
"""Commits of the outbox that are counted: a long outage must not make its own telling slow."""

LIST_MAX: Final = 200
"""Most rows one read returns."""

LOG_POSITION_MAX: Final = 2**53 - 1
"""No log line of a job has a greater position: what every JSON reader holds exactly."""

SEARCHED_MAX: Final = 1_000
"""Jobs that one call of a search looks into: no index knows a text, and nobody should wait."""


IDEMPOTENCY_KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long an Idempotency-Key is remembered at least."""


HOUR_US: Final = 3600 * 1_000_000

FAILURES_MAX: Final = 10_000
"""How many failures, the newest, are grouped."""


PUBLISHER_KEPT_US: Final = 90 * 24 * 3600 * 1_000_000
"""A process that has committed nothing for longer has ended, and its number is forgotten. That is
longer than aggregates remember it."""


class StoreWrites(Protocol):
    """What the gateway and the processor change."""

    @property
    def publisher(self) -> str:
        """The boot id under which this process numbers its commits."""
        ...

    async def accept(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Accepted | KeyReused], Commit | None]:
        """Record submissions, one result each in order, all or nothing."""
        ...

    async def claim(
        self, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None]:
        """queued → running for each job whose attempt count is still the reference's.

        Raises:
            WorkerLost: this worker was declared dead; what it took would be taken from it.
        """
        ...

    async def reclaim(self, references: Sequence[Reference], worker: str) -> list[ClaimedJob]:
        """After a claim that was cut off, and of which nobody knows what it did: the jobs that
        it took for this worker. A transaction that may still be under way is waited for."""
        ...

    async def finish(
        self, attempts: Sequence[FinishedAttempt], worker: str
    ) -> tuple[list[bool], Commit | None]:
        """Record how attempts ended, where attempt and worker still match; True for each that
        did. An attempt that would be retried is cancelled where that was asked for."""
        ...

    async def cancel(
        self, job_id: str, reason: str | None, version: int | None = None
    ) -> tuple[Cancellation, Commit | None]:
        """Cancel a waiting job, or ask its worker to end the run; where a version is given, only
        if the job is still at it.

        Raises:
            NotFound: no such job.
            IllegalTransition: the job is terminal, or has changed.
        """
        ...

    async def requeue(self, job_id: str, version: int | None = None) -> tuple[int, Commit | None]:
        """Run a job again by an operator's wish; its retry budget starts anew; where a version is
        given, only if the job is still at it. Returns its version.

        Raises:
            NotFound: no such job.
            IllegalTransition: the job waits or runs already, or has changed.
        """
        ...

    async def note(
        self, reports: Sequence[ProgressReport], lines: Sequence[JobLogLine], worker: str
    ) -> None:
        """Keep progress and log lines of runs that this worker still owns."""
        ...

    async def pause_queue(self, queue: str, paused: bool) -> bool:
        """Have processors leave a queue alone, or no longer; True where that is a change."""
        ...

    async def register_job_types(self, job_types: Sequence[JobType]) -> None:
        """Make job types known to every gateway; a newer registration replaces an older."""
        ...


class StoreLiveness(Protocol):
    """Workers and maintenance."""

    async def register_worker(self, worker: WorkerRecord) -> None:
        """A worker starts."""
        ...

    def heartbeat(self, worker: str, running: int, state: str) -> Pulse:
        """Blocking, for the worker's own thread: I am alive; what shall end?"""
        ...

    async def runs(self, worker: str) -> list[tuple[str, int]]:
        """(job, attempt) of every run that this worker has on record."""
        ...

    async def unregister_worker(self, worker: str) -> None:
        """A worker ended in good order and owns nothing any more."""
        ...

    async def promote(self, limit: int) -> Commit | None:
        """Due scheduled and retrying jobs → queued."""
        ...

    async def next_due(self) -> int | None:
        """When the next scheduled or retrying job falls due."""
        ...

    async def rescue(
        self, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        """End, as lost, the runs of workers not seen for a lease; returns the workers found dead.
        The calling worker is evidently alive."""
        ...

    async def published(self, numbers: Sequence[int], publisher: str | None = None) -> None:
        """Forget outbox rows whose commits the spine has confirmed."""
        ...

    async def unpublished(self, older_than_us: int, limit: int) -> list[Commit]:
        """Commits left in the outbox, oldest first, those of each publisher in order."""
        ...

    async def queued(self, before: int, after_id: str, limit: int) -> list[Transition]:
        """Jobs queued before an instant, as their last transitions, in id order: what the
        reconciler compares with the work queues. Those of which the outbox still has to tell may
        be left out."""
        ...

    async def prune(self, before: int, limit: int) -> Commit | None:
        """Remove terminal jobs that finished before an instant."""
        ...

    async def lead(self, worker: str, lease_us: int) -> bool:
        """Be, or stay, the one worker that does maintenance."""
        ...


class StoreReads(Protocol):
    """What the read model shows. Lists are bounded by `LIST_MAX`."""

    async def now(self) -> int:
        """The store's clock."""
        ...

    async def job(self, job_id: str) -> Job | None:
        """One job with its documents."""
        ...

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """Summaries of these jobs, in the given order, without those that do not exist."""
        ...

    async def list_jobs(self, where: JobFilter, before: str | None, limit: int) -> list[Job]:
        """Summaries, newest first, with an id below `before`.

        Raises:
            QueryTooBroad: it would read more than the store allows a question.
        """
        ...

    async def search_jobs(
        self, where: JobFilter, text: str, before: str | None, limit: int
    ) -> Found:
        """Like `list_jobs`, those with a text in id, type, correlation id, error or payload; looks
        into `SEARCHED_MAX` jobs, then says how far it came."""
        ...

    async def history(self, job_id: str) -> list[Transition]:
        """Every transition of a job, by version."""
        ...

    async def job_logs(
        self, job_id: str, after: int | None, limit: int, *, newest_first: bool = False
    ) -> list[tuple[int, JobLogLine]]:
        """A job's log lines with their positions, oldest first or newest first: those that come
        `after` a position in that order, or from its beginning."""
        ...

    async def failures(
        self, type: str | None, queue: str | None, since: int | None, limit: int
    ) -> list[FailureGroup]:
        """The newest `FAILURES_MAX` failed and retrying jobs, grouped, the largest group first."""
        ...

    async def oldest_queued(self) -> dict[str, int]:
        """By queue, when its longest waiting job was queued."""
        ...

    async def queues(self, limit: int) -> list[str]:
        """Up to `limit` of the queues that jobs on record are of, by name."""
        ...

    async def workers(self) -> list[WorkerRecord]:
        """Workers seen lately, the newest first."""
        ...

    async def workforce(self, lease_us: int) -> Workforce:
        """How many workers there are, all of them; one not seen for a lease is stale."""
        ...

    async def paused_queues(self) -> dict[str, int]:
        """The queues that processors leave alone, by name, and since when."""
        ...

    async def job_types(self) -> list[JobType]:
        """Every registered job type."""
        ...

    async def snapshot(self, now: int | None = None) -> Snapshot:
        """Aggregates recomputed from the record; the series as they are kept at an instant, or
        of all times."""
        ...

    async def outbox(self, publisher: str, after: int, before: int) -> list[Commit]:
        """Commits of a publisher that wait to be published, with numbers between these two (both
        left out), in order."""
        ...

    async def published_numbers(self) -> dict[str, int]:
        """The last number of every publisher of which nothing waits to be published."""
        ...

    async def outbox_backlog(self) -> Backlog:
        """How many commits wait to be published, and since when."""
        ...

    async def check(self) -> dict[str, Any]:
        """Facts for readiness and `doctor`.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...


class Store(StoreWrites, StoreLiveness, StoreReads, Protocol):
    """The whole store."""

    @property
    def sole_process(self) -> bool:
        """True where only one process can have the store open, so that any other worker on
        record is known to be dead."""
        ...

    async def close(self) -> None:
        """Finish what was asked for and give back what the store holds."""
        ...
