"""The store on PostgreSQL: what callers ask for. `reads.py` shows, `liveness.py` maintains.

Each change runs as one function in the writer's thread: lock and read the rows concerned with one
statement, decide, and write rows, history and the outbox row with another.
"""

from collections.abc import Sequence
from typing import Final

from observatory.backends.postgres.liveness import PostgresLiveness
from observatory.backends.postgres.recording import (
    ACCEPT,
    CLAIM,
    FINISH,
    QUEUE,
    end_runs,
    record,
    record_in_order,
)
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
    expect,
    owns,
    owns_claim,
)
from observatory.core.errors import IllegalTransition, WorkerLost
from observatory.core.job import (
    ClaimedJob,
    Commit,
    FinishedAttempt,
    JobLogLine,
    ProgressReport,
    Reference,
    Submission,
)
from observatory.core.job_type import JobType
from observatory.core.lifecycle import Move, State, allows
from observatory.core.store import Accepted, Cancellation, KeyReused

_KEEP_KEYS: Final = statement("keep_keys")
_ASK_TO_END: Final = statement("ask_to_end")
_NOTE_PROGRESS: Final = statement("note_progress")
_NOTE_LINES: Final = statement("note_lines")
_PAUSE_QUEUE: Final = statement("pause_queue")
_RESUME_QUEUE: Final = statement("resume_queue")
_PUT_JOB_TYPES: Final = statement("put_job_types")
_DEAD: Final = b"SELECT 1 FROM workers WHERE id = $1 AND state IN ('lost', 'stopped')"
_PAYLOADS: Final = (
    b"SELECT job::text, document FROM history WHERE job = ANY ($1::uuid[]) AND version = 1"
)


class PostgresStore(PostgresLiveness):
    """The store in a PostgreSQL database, shared by every process that is given its URL."""

    sole_process = False

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
        return results, record(db, ACCEPT, rows, transitions, self._publisher)

    # Running

    async def claim(
        self, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None]:
        """See `StoreWrites.claim`."""
        claimed = await self._database.write(lambda db: self._claim(db, references, worker))
        if claimed is None:
            raise WorkerLost(f"the worker {worker} was declared dead")
        return claimed

    def _claim(
        self, db: Transaction, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None] | None:
        wanted = {(reference.id, reference.attempt) for reference in references}
        rows = claimable_rows(db, {id for id, _ in wanted}, worker)
        if not rows and db.execute(_DEAD, (worker,)):
            return None
        found = [
            (row, payload)
            for row, payload in rows
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
        claimed = [claimed_job(row, payload, row.attempt + 1, db.now) for row, payload in found]
        return claimed, record(db, CLAIM, changed, transitions, self._publisher)

    async def reclaim(self, references: Sequence[Reference], worker: str) -> list[ClaimedJob]:
        """See `StoreWrites.reclaim`."""
        wanted = {reference.id: reference for reference in references}

        def work(db: Transaction) -> list[ClaimedJob]:
            # Locked: a claim whose commit is still under way is waited for.
            rows = {
                row.id: row for row in current_rows(db, wanted)
                if owns_claim(row, wanted[row.id], worker)
            }  # fmt: skip
            payloads = db.execute(_PAYLOADS, (list(rows),)) if rows else []
            return [
                claimed_job(row := rows[id], text, row.attempt, row.started_at)
                for id, text in payloads
            ]

        return await self._database.write(work)

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
            recorded.append(False)
            if row is not None and owns(row, attempt, worker):
                recorded[-1] = True
                ended.append((row, attempt))
                del rows[attempt.job]
        return recorded, end_runs(db, ended, self._publisher)

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

    async def cancel(
        self, job_id: str, reason: str | None, version: int | None = None
    ) -> tuple[Cancellation, Commit | None]:
        """See `StoreWrites.cancel`."""
        return await self._database.write(lambda db: self._cancel(db, job_id, reason, version))

    def _cancel(
        self, db: Transaction, job_id: str, reason: str | None, version: int | None
    ) -> tuple[Cancellation, Commit | None]:
        row = one_row(db, job_id)
        expect(row, version)
        state = State(row.state)
        if not allows(state, Move.CANCEL):
            raise IllegalTransition(f"the job is {state} already; it cannot be cancelled")
        if state is State.RUNNING:
            requested = row.cancel_requested_at or db.now
            db.execute(_ASK_TO_END, (row.id, requested, row.cancel_reason or reason))
            return Cancellation(state, row.version, requested), None
        changed, transition = cancellation(row, reason, db.now)
        rows = [ended_row(changed, transition)]
        commit = record_in_order(db, FINISH, rows, [transition], self._publisher)
        return Cancellation(State.CANCELLED, transition.version, None), commit

    async def requeue(self, job_id: str, version: int | None = None) -> tuple[int, Commit | None]:
        """See `StoreWrites.requeue`."""

        def work(db: Transaction) -> tuple[int, Commit | None]:
            row = one_row(db, job_id)
            expect(row, version)
            transition = row.transition(
                Move.REQUEUE_BY_OPERATOR, db.now, None, reason="retried", suspect=False
            )
            changed = QueuedRow(row.id, transition.version, db.now, 0, 0, body(transition))
            commit = record_in_order(db, QUEUE, [changed], [transition], self._publisher)
            return transition.version, commit

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

    async def close(self) -> None:
        """The database is closed by whoever opened it."""


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
