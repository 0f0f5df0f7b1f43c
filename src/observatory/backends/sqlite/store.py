"""The store on SQLite: what callers ask for. `reads.py` shows, `liveness.py` maintains.

Each change runs as one function in the writer's thread: read the rows concerned, decide, write
rows, history and the outbox row. Nothing else writes between, since there is one writer.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from observatory.backends.sqlite.liveness import SqliteLiveness
from observatory.backends.sqlite.recording import (
    FINISH,
    QUEUE,
    columns,
    end_runs,
    keep_history,
    number_commit,
)
from observatory.backends.sqlite.rows import Row, current_rows, one_row
from observatory.backends.sqlite.sql import statement
from observatory.core.change import (
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
    Transition,
)
from observatory.core.job_type import JobType
from observatory.core.lifecycle import (
    Move,
    State,
    allows,
)
from observatory.core.store import Accepted, Cancellation, KeyReused

_INSERT_JOB: Final = statement("insert_job")
_CLAIM: Final = statement("claim_jobs")
_ASK_TO_END: Final = statement("ask_to_end")

_encode = msgspec.json.Encoder().encode
_DEAD: Final = "SELECT 1 FROM workers WHERE id = ? AND state IN ('lost', 'stopped')"
_PAYLOADS: Final = "SELECT job, body FROM payloads WHERE job IN (SELECT value FROM json_each(?))"


class SqliteStore(SqliteLiveness):
    """The store in a SQLite file. One process, so every other worker on record is dead."""

    sole_process = True

    # Accepting

    async def accept(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Accepted | KeyReused], Commit | None]:
        """See `StoreWrites.accept`."""
        return await self._database.write(lambda db: self._accept(db, submissions))

    def _accept(
        self, db: sqlite3.Connection, submissions: Sequence[Submission]
    ) -> tuple[list[Accepted | KeyReused], Commit | None]:
        now = self._database.now()
        known = _known_keys(db, submissions)
        results: list[Accepted | KeyReused] = []
        new: list[Submission] = []
        for submission in submissions:
            key = submission.scoped_key
            if key is not None and key in known:
                owner, body = known[key]
                same = body == submission.fingerprint
                results.append(Accepted(owner, replayed=True) if same else KeyReused(owner))
                continue
            if key is not None:
                known[key] = (submission.id, submission.fingerprint or "")
            new.append(submission)
            results.append(Accepted(submission.id))
        if not new:
            return results, None
        self._insert(db, new, transitions := [acceptance(s, now) for s in new])
        return results, number_commit(db, transitions, now, self._publisher)

    def _insert(
        self, db: sqlite3.Connection, new: Sequence[Submission], transitions: list[Transition]
    ) -> None:
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM jobs").fetchone()
        first = last + 1
        rows = [
            (
                first + i, s.id, s.type, s.queue, s.priority, t.state, s.max_attempts, s.timeout_s,
                t.at, t.scheduled_at, None if t.scheduled_at else t.at, s.correlation_id,
                s.parent_id, s.contract_version, s.idempotency_key, s.traceparent, s.tracestate,
                t.scheduled_at or t.at,
            )
            for i, (s, t) in enumerate(zip(new, transitions, strict=True))
        ]  # fmt: skip
        db.executemany(_INSERT_JOB, rows)
        db.executemany(
            "INSERT INTO payloads VALUES (?, ?)",
            [(first + i, s.payload) for i, s in enumerate(new)],
        )
        db.executemany(
            "INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)",
            [
                (s.scoped_key, s.fingerprint or "", s.id, t.at)
                for s, t in zip(new, transitions, strict=True)
                if s.scoped_key is not None
            ],
        )
        keep_history(db, [(first + i, t) for i, t in enumerate(transitions)])

    # Running

    async def claim(
        self, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None]:
        """See `StoreWrites.claim`."""
        return await self._database.write(lambda db: self._claim(db, references, worker))

    def _claim(
        self, db: sqlite3.Connection, references: Sequence[Reference], worker: str
    ) -> tuple[list[ClaimedJob], Commit | None]:
        now = self._database.now()
        if db.execute(_DEAD, (worker,)).fetchone():
            raise WorkerLost(f"the worker {worker} was declared dead")
        wanted = {(reference.id, reference.attempt) for reference in references}
        rows = [
            row
            for row in current_rows(db, {id for id, _ in wanted})
            if row.job.state == State.QUEUED and (row.job.id, row.job.attempt) in wanted
        ]
        if not rows:
            return [], None
        payloads = dict(db.execute(_PAYLOADS, (_encode([r.seq for r in rows]).decode(),)))
        transitions = [
            job.transition(Move.CLAIM, now, job.queued_at, attempt=job.attempt + 1, worker=worker)
            for _, job in rows
        ]
        kept = [(seq, t) for (seq, _), t in zip(rows, transitions, strict=True)]
        db.executemany(_CLAIM, [(seq, t.attempt, t.version, worker, now) for seq, t in kept])
        keep_history(db, kept)
        claimed = [claimed_job(job, payloads[seq], job.attempt + 1, now) for seq, job in rows]
        return claimed, number_commit(db, transitions, now, self._publisher)

    async def reclaim(self, references: Sequence[Reference], worker: str) -> list[ClaimedJob]:
        """See `StoreWrites.reclaim`."""
        wanted = {reference.id: reference for reference in references}

        def work(db: sqlite3.Connection) -> list[ClaimedJob]:
            rows = [
                row for row in current_rows(db, wanted)
                if owns_claim(row.job, wanted[row.job.id], worker)
            ]  # fmt: skip
            payloads = dict(db.execute(_PAYLOADS, (_encode([r.seq for r in rows]).decode(),)))
            return [
                claimed_job(job, payloads[seq], job.attempt, job.started_at) for seq, job in rows
            ]

        return await self._database.write(work)

    async def finish(
        self, attempts: Sequence[FinishedAttempt], worker: str
    ) -> tuple[list[bool], Commit | None]:
        """See `StoreWrites.finish`."""
        return await self._database.write(lambda db: self._finish(db, attempts, worker))

    def _finish(
        self, db: sqlite3.Connection, attempts: Sequence[FinishedAttempt], worker: str
    ) -> tuple[list[bool], Commit | None]:
        now = self._database.now()
        rows = {row.job.id: row for row in current_rows(db, [a.job for a in attempts])}
        recorded: list[bool] = []
        ended: list[tuple[Row, FinishedAttempt]] = []
        for attempt in attempts:
            row = rows.get(attempt.job)
            recorded.append(False)
            if row is not None and owns(row.job, attempt, worker):
                recorded[-1] = True
                ended.append((row, attempt))
                del rows[attempt.job]
        return recorded, end_runs(db, ended, now, self._publisher)

    async def note(
        self, reports: Sequence[ProgressReport], lines: Sequence[JobLogLine], worker: str
    ) -> None:
        """See `StoreWrites.note`."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE jobs SET progress = ? "
                "WHERE id = ? AND attempt = ? AND worker = ? AND state = 'running'",
                [
                    (_encode([r.at, r.fraction, r.message]).decode(), r.job, r.attempt, worker)
                    for r in reports
                ],
            )
            db.executemany(
                "INSERT INTO job_logs (job, attempt, at, level, message, fields) "
                "SELECT seq, ?2, ?3, ?4, ?5, ?6 FROM jobs "
                "WHERE id = ?1 AND attempt = ?2 AND worker = ?7",
                [
                    (
                        x.job,
                        x.attempt,
                        x.at,
                        x.level,
                        x.message,
                        _encode(x.fields).decode(),
                        worker,
                    )
                    for x in lines
                ],
            )

        await self._database.write(work)

    # Operating

    async def cancel(
        self, job_id: str, reason: str | None, version: int | None = None
    ) -> tuple[Cancellation, Commit | None]:
        """See `StoreWrites.cancel`."""
        return await self._database.write(lambda db: self._cancel(db, job_id, reason, version))

    def _cancel(
        self, db: sqlite3.Connection, job_id: str, reason: str | None, version: int | None
    ) -> tuple[Cancellation, Commit | None]:
        now = self._database.now()
        seq, job = one_row(db, job_id)
        expect(job, version)
        state = State(job.state)
        if not allows(state, Move.CANCEL):
            raise IllegalTransition(f"the job is {state} already; it cannot be cancelled")
        if state is State.RUNNING:
            requested = job.cancel_requested_at or now
            db.execute(_ASK_TO_END, (seq, requested, job.cancel_reason or reason))
            return Cancellation(state, job.version, requested), None
        change, transition = cancellation(job, reason, now)
        db.execute(FINISH, columns(seq, change))
        keep_history(db, [(seq, transition)])
        commit = number_commit(db, [transition], now, self._publisher)
        return Cancellation(State.CANCELLED, transition.version, None), commit

    async def requeue(self, job_id: str, version: int | None = None) -> tuple[int, Commit]:
        """See `StoreWrites.requeue`."""

        def work(db: sqlite3.Connection) -> tuple[int, Commit]:
            now = self._database.now()
            seq, job = one_row(db, job_id)
            expect(job, version)
            transition = job.transition(
                Move.REQUEUE_BY_OPERATOR, now, None, reason="retried", suspect=False
            )
            db.execute(QUEUE, (seq, transition.version, now, 0, 0))
            keep_history(db, [(seq, transition)])
            return transition.version, number_commit(db, [transition], now, self._publisher)

        return await self._database.write(work)

    async def pause_queue(self, queue: str, paused: bool) -> bool:
        """See `StoreWrites.pause_queue`."""

        def work(db: sqlite3.Connection) -> bool:
            if paused:
                statement = "INSERT INTO paused_queues VALUES (?, ?) ON CONFLICT DO NOTHING"
                return db.execute(statement, (queue, self._database.now())).rowcount == 1
            return db.execute("DELETE FROM paused_queues WHERE queue = ?", (queue,)).rowcount == 1

        return await self._database.write(work)

    async def register_job_types(self, job_types: Sequence[JobType]) -> None:
        """See `StoreWrites.register_job_types`."""
        rows = [(t.name, _encode(t).decode(), self._database.now()) for t in job_types]
        await self._database.write(
            lambda db: db.executemany("INSERT OR REPLACE INTO job_types VALUES (?, ?, ?)", rows)
        )

    async def close(self) -> None:
        """The database is closed by whoever opened it."""


def _known_keys(
    db: sqlite3.Connection, submissions: Sequence[Submission]
) -> dict[str, tuple[str, str]]:
    keys = [s.scoped_key for s in submissions if s.scoped_key is not None]
    if not keys:
        return {}
    found = db.execute(
        "SELECT key, job_id, fingerprint FROM idempotency_keys "
        "WHERE key IN (SELECT value FROM json_each(?))",
        (_encode(keys).decode(),),
    )
    return {key: (job_id, body) for key, job_id, body in found}
