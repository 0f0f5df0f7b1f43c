"""The store on PostgreSQL: what changes jobs. `reads.py` holds what shows them.

Each change runs as one function in the writer's thread: lock and read the rows concerned with one
statement, decide, and write rows, history and the outbox row with another.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from observatory.backends.postgres.database import Database
from observatory.backends.postgres.reads import PostgresReads, worker_records
from observatory.backends.postgres.rows import (
    ClaimedRow,
    QueuedRow,
    accepted_row,
    body,
    claimable_rows,
    current_rows,
    document,
    encode,
    ended_row,
    one_row,
)
from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction
from observatory.core.change import (
    Current,
    acceptance,
    cancellation,
    claimed_job,
    ending,
)
from observatory.core.errors import IllegalTransition
from observatory.core.job import (
    ClaimedJob,
    Commit,
    FinishedAttempt,
    JobLogLine,
    ProgressReport,
    Reference,
    Submission,
    Transition,
    WorkerRecord,
)
from observatory.core.job_type import JobType, Retry
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State, allows
from observatory.core.store import Accepted, Cancellation, KeyReused, Pulse

_NUMBER: Final = statement("number_commit")
_RECORD: Final = statement("record_changes") + _NUMBER
_ACCEPT: Final = statement("accept_jobs") + _RECORD
_CLAIM: Final = statement("claim_jobs") + _RECORD
_FINISH: Final = statement("finish_jobs") + _RECORD
_QUEUE: Final = statement("queue_jobs") + _RECORD
_PRUNE: Final = statement("prune_jobs") + _NUMBER
_KEEP_KEYS: Final = statement("keep_keys")
_FORGET_KEYS: Final = statement("forget_keys")
_DUE: Final = statement("select_due")
_ORPHANS: Final = statement("select_orphans")
_PRUNABLE: Final = statement("select_prunable")
_NOTE_PROGRESS: Final = statement("note_progress")
_NOTE_LINES: Final = statement("note_lines")
_PUT_WORKER: Final = statement("put_worker")
_PAUSE_QUEUE: Final = statement("pause_queue")
_RESUME_QUEUE: Final = statement("resume_queue")
_PUT_JOB_TYPES: Final = statement("put_job_types")
_BEAT: Final = statement("beat")
_LEAD: Final = statement("lead")

IDEMPOTENCY_KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long an Idempotency-Key is remembered at least."""


_KEYS_FORGOTTEN_MAX: Final = 10_000
"""How many keys one pruning removes at most."""


class PostgresStore(PostgresReads):
    """The store in a PostgreSQL database, shared by every process that is given its URL."""

    sole_process = False

    def __init__(
        self,
        database: Database,
        publisher: str,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(database)
        self._publisher = publisher
        self._jitter = jitter

    @property
    def publisher(self) -> str:
        """The boot id under which commits are numbered."""
        return self._publisher

    # Accepting

    async def accept(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Accepted | KeyReused], Commit | None]:
        """See `StoreWrites.accept`."""
        return await self._database.write(lambda db: self._accept(db, submissions))

    def _accept(
        self, db: Transaction, submissions: Sequence[Submission]
    ) -> tuple[list[Accepted | KeyReused], Commit | None]:
        owners, ours = _keep_keys(db, submissions)
        results: list[Accepted | KeyReused] = []
        new: list[Submission] = []
        for submission in submissions:
            key = submission.scoped_key
            owner, fingerprint = owners[key] if key is not None else (submission.id, "")
            if key is None or key in ours:
                ours.discard(key)
                new.append(submission)
                results.append(Accepted(owner))
            elif fingerprint == (submission.fingerprint or ""):
                results.append(Accepted(owner, replayed=True))
            else:
                results.append(KeyReused(owner))
        if not new:
            return results, None
        transitions = [acceptance(s, db.now) for s in new]
        rows = [accepted_row(s, t) for s, t in zip(new, transitions, strict=True)]
        return results, self._record(db, _ACCEPT, rows, transitions)

    # Running

    async def claim(
        self, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None]:
        """See `StoreWrites.claim`."""
        return await self._database.write(lambda db: self._claim(db, references, worker))

    def _claim(
        self, db: Transaction, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None]:
        wanted = {(reference.id, reference.attempt) for reference in references}
        found = [
            (row, payload)
            for row, payload in claimable_rows(db, {id for id, _ in wanted})
            if payload is not None and (row.id, row.attempt) in wanted
        ]
        if not found:
            return [], None
        transitions = [
            r.transition(Move.CLAIM, db.now, r.queued_at, attempt=r.attempt + 1, worker=worker)
            for r, _ in found
        ]
        changed = [
            ClaimedRow(t.job, t.version, t.attempt, t.at, worker, body(t)) for t in transitions
        ]
        claimed = [claimed_job(row, payload) for row, payload in found]
        return claimed, self._record(db, _CLAIM, changed, transitions)

    async def finish(
        self, attempts: Sequence[FinishedAttempt], worker: str
    ) -> tuple[list[bool], Commit | None]:
        """See `StoreWrites.finish`."""
        return await self._database.write(lambda db: self._finish(db, attempts, worker))

    def _finish(
        self, db: Transaction, attempts: Sequence[FinishedAttempt], worker: str
    ) -> tuple[list[bool], Commit | None]:
        rows = {row.id: row for row in current_rows(db, {a.job for a in attempts})}
        recorded: list[bool] = []
        ended: list[tuple[Current, FinishedAttempt]] = []
        for attempt in attempts:
            row = rows.get(attempt.job)
            owned = (
                row is not None
                and row.state == State.RUNNING
                and row.attempt == attempt.attempt
                and row.worker == worker
            )
            recorded.append(owned)
            if owned and row is not None:
                ended.append((row, attempt))
                del rows[attempt.job]
        return recorded, self._end(db, ended)

    def _end(
        self, db: Transaction, ended: Sequence[tuple[Current, FinishedAttempt]]
    ) -> Commit | None:
        if not ended:
            return None
        made = [ending(row, attempt, db.now) for row, attempt in ended]
        rows = [
            ended_row(row, t, attempt.result)
            for (row, t), (_, attempt) in zip(made, ended, strict=True)
        ]
        return self._record(db, _FINISH, rows, [t for _, t in made])

    async def note(
        self, reports: Sequence[ProgressReport], lines: Sequence[JobLogLine], worker: str
    ) -> None:
        """See `StoreWrites.note`."""
        progress = [
            (r.job, r.attempt, encode([r.at, r.fraction, r.message]).decode()) for r in reports
        ]
        logged = [
            (x.job, x.attempt, x.at, x.level, x.message, encode(x.fields).decode()) for x in lines
        ]

        def work(db: Transaction) -> None:
            if progress:
                db.execute(_NOTE_PROGRESS, (document(progress), worker))
            if logged:
                db.execute(_NOTE_LINES, (document(logged), worker))

        if progress or logged:
            await self._database.write(work)

    # Operating

    async def cancel(self, job_id: str, reason: str | None) -> tuple[Cancellation, Commit | None]:
        """See `StoreWrites.cancel`."""
        return await self._database.write(lambda db: self._cancel(db, job_id, reason))

    def _cancel(
        self, db: Transaction, job_id: str, reason: str | None
    ) -> tuple[Cancellation, Commit | None]:
        row = one_row(db, job_id)
        state = State(row.state)
        if not allows(state, Move.CANCEL):
            raise IllegalTransition(f"the job is {state} already; it cannot be cancelled")
        if state is State.RUNNING:
            requested = row.cancel_requested_at or db.now
            db.execute(
                b"UPDATE jobs SET cancel_requested_at = $1 WHERE id = $2", (requested, row.id)
            )
            return Cancellation(state, row.version, requested), None
        changed, transition = cancellation(row, reason, db.now)
        commit = self._record(db, _FINISH, [ended_row(changed, transition)], [transition])
        return Cancellation(State.CANCELLED, transition.version, None), commit

    async def requeue(self, job_id: str) -> tuple[int, Commit]:
        """See `StoreWrites.requeue`."""

        def work(db: Transaction) -> tuple[int, Commit]:
            row = one_row(db, job_id)
            transition = row.transition(
                Move.REQUEUE_BY_OPERATOR, db.now, None, reason="retried", suspect=False
            )
            changed = QueuedRow(row.id, transition.version, db.now, 0, 0, body(transition))
            return transition.version, self._record(db, _QUEUE, [changed], [transition])

        return await self._database.write(work)

    async def pause_queue(self, queue: str, paused: bool) -> bool:
        """See `StoreWrites.pause_queue`."""

        def work(db: Transaction) -> bool:
            if paused:
                return bool(db.execute(_PAUSE_QUEUE, (queue, db.now)))
            return bool(db.execute(_RESUME_QUEUE, (queue,)))

        return await self._database.write(work)

    async def register_job_types(self, job_types: Sequence[JobType]) -> None:
        """See `StoreWrites.register_job_types`."""
        rows = [(t.name, encode(t).decode()) for t in sorted(job_types, key=lambda t: t.name)]
        await self._database.write(
            lambda db: db.execute(_PUT_JOB_TYPES, (document(rows), db.now)) and None
        )

    # Liveness and maintenance

    async def register_worker(self, worker: WorkerRecord) -> None:
        """See `StoreLiveness.register_worker`."""

        def work(db: Transaction) -> None:
            row = (
                worker.id, worker.host, worker.pid, worker.started_at, db.now,
                worker.state, worker.concurrency, worker.running,
                encode(worker.queues).decode(), encode(worker.job_types).decode(),
            )  # fmt: skip
            db.execute(_PUT_WORKER, row)

        await self._database.write(work)

    def heartbeat(self, worker: str, running: int, state: str) -> Pulse:
        """See `StoreLiveness.heartbeat`."""

        def work(db: Transaction) -> Pulse:
            values = (worker, running, state, self._database.ahead())
            (_, known), *cancel = db.execute(_BEAT, values)
            return Pulse(known == 1, tuple((job, attempt) for job, attempt in cancel))

        return self._database.beat(work)

    async def unregister_worker(self, worker: str) -> None:
        """See `StoreLiveness.unregister_worker`."""

        def work(db: Transaction) -> None:
            db.execute(
                b"UPDATE workers SET state = 'stopped', running = 0, seen_at = $2 WHERE id = $1",
                (worker, db.now),
            )

        await self._database.write(work)

    async def lead(self, worker: str, lease_us: int) -> bool:
        """See `StoreLiveness.lead`."""
        return await self._database.write(
            lambda db: bool(db.execute(_LEAD, (worker, db.now + lease_us, db.now)))
        )

    async def promote(self, limit: int) -> Commit | None:
        """See `StoreLiveness.promote`."""
        if not await self.due():
            return None
        return await self._database.write(lambda db: self._promote(db, limit))

    def _promote(self, db: Transaction, limit: int) -> Commit | None:
        found = db.execute(_DUE, (db.now, limit))
        rows = current_rows(db, [id for (id,) in found])
        if not rows:
            return None
        transitions = [row.transition(Move.PROMOTE, db.now, None) for row in rows]
        changed = [
            QueuedRow(t.job, t.version, t.at, row.failures, row.crashes, body(t))
            for row, t in zip(rows, transitions, strict=True)
        ]
        return self._record(db, _QUEUE, changed, transitions)

    async def rescue(
        self, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        """See `StoreLiveness.rescue`."""
        return await self._database.write(lambda db: self._rescue(db, caller, lease_us, limit))

    def _rescue(
        self, db: Transaction, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        dead = worker_records(
            db,
            b"state IN ('active', 'draining') AND seen_at < $1 AND id <> $2",
            (db.now - lease_us, caller),
            lock=True,
        )
        if dead:
            db.execute(
                b"UPDATE workers SET state = 'lost', running = 0 WHERE id = ANY ($1)",
                ([one.id for one in dead],),
            )
        found = db.execute(_ORPHANS, (limit, caller))
        rows = current_rows(db, [id for (id,) in found]) if found else []
        retries = _retries(db, {row.type for row in rows})
        ended = [(row, self._lost(row, retries.get(row.type, Retry()))) for row in rows]
        return dead, self._end(db, ended)

    def _lost(self, row: Current, retry: Retry) -> FinishedAttempt:
        return FinishedAttempt(
            job=row.id,
            attempt=row.attempt,
            outcome=OutcomeKind.LOST,
            retry=retry,
            jitter=self._jitter(),
            error=ErrorInfo("WorkerLost", f"the worker {row.worker} died during the run"),
        )

    async def published(self, numbers: Sequence[int], publisher: str | None = None) -> None:
        """See `StoreLiveness.published`."""
        values = (publisher or self._publisher, list(numbers))
        await self._database.write(
            lambda db: (
                db.execute(
                    b"DELETE FROM outbox WHERE publisher = $1 AND number = ANY ($2::bigint[])",
                    values,
                )
                and None
            )
        )

    async def prune(self, before: int, limit: int) -> Commit | None:
        """See `StoreLiveness.prune`."""
        return await self._database.write(lambda db: self._prune(db, before, limit))

    def _prune(self, db: Transaction, before: int, limit: int) -> Commit | None:
        db.execute(_FORGET_KEYS, (min(before, db.now - IDEMPOTENCY_KEPT_US), _KEYS_FORGOTTEN_MAX))
        db.execute(
            b"DELETE FROM workers WHERE state IN ('lost', 'stopped') AND seen_at < $1", (before,)
        )
        found = db.execute(_PRUNABLE, (before, limit))
        rows = [
            row
            for row in current_rows(db, [id for (id,) in found])
            if allows(State(row.state), Move.PRUNE)
        ]
        if not rows:
            return None
        transitions = [row.transition(Move.PRUNE, db.now, None) for row in rows]
        changed = [{"id": t.job, "body": body(t)} for t in transitions]
        return self._record(db, _PRUNE, changed, transitions)

    async def close(self) -> None:
        """The database is closed by whoever opened it."""

    # What every change ends with

    def _record(
        self, db: Transaction, query: bytes, rows: Sequence[Any], transitions: list[Transition]
    ) -> Commit:
        ((number,),) = db.execute(query, (document(rows), self._publisher, db.now))
        db.numbered = (self._publisher, number)
        return Commit(self._publisher, number, tuple(transitions))


def _keep_keys(
    db: Transaction, submissions: Sequence[Submission]
) -> tuple[dict[str | None, tuple[str, str]], set[str | None]]:
    """The job and the fingerprint of each key; and the keys that were nobody's until now."""
    firsts: dict[str, Submission] = {}
    for submission in submissions:
        if submission.scoped_key is not None:
            firsts.setdefault(submission.scoped_key, submission)
    if not firsts:
        return {}, set()
    rows = [
        {"key": key, "fingerprint": s.fingerprint or "", "job_id": s.id}
        for key, s in firsts.items()
    ]
    kept = db.execute(_KEEP_KEYS, (document(rows), db.now))
    owners: dict[str | None, tuple[str, str]] = {row[0]: (row[1], row[2]) for row in kept}
    return owners, {row[0] for row in kept if row[3]}


def _retries(db: Transaction, names: set[str]) -> dict[str, Retry]:
    if not names:
        return {}
    found = db.execute(b"SELECT body FROM job_types WHERE name = ANY ($1)", (list(names),))
    types = [msgspec.json.decode(text, type=JobType) for (text,) in found]
    return {job_type.name: job_type.retry for job_type in types}
