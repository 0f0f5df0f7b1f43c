"""The store on SQLite: what changes jobs. `reads.py` holds what shows them.

Each change runs as one function in the writer's thread: read the rows concerned, decide, write
rows, history and the outbox row. Nothing else writes between, since there is one writer.
"""

import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.reads import SqliteReads
from observatory.backends.sqlite.rows import Row, current_rows, keep_history, one_row
from observatory.backends.sqlite.sql import statement
from observatory.core.change import Ending, acceptance, cancellation, claimed_job, ending
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
from observatory.core.lifecycle import (
    ErrorInfo,
    Move,
    OutcomeKind,
    State,
    allows,
)
from observatory.core.store import Accepted, Cancellation, KeyReused, Pulse

_INSERT_JOB: Final = statement("insert_job")
_CLAIM: Final = statement("claim_jobs")
_FINISH: Final = statement("finish_job")
_DUE: Final = statement("select_due")
_QUEUE: Final = statement("queue_job")
_ORPHANED: Final = statement("select_orphaned")

IDEMPOTENCY_KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long an Idempotency-Key is remembered at least."""

_encode = msgspec.json.Encoder().encode
_PAYLOADS: Final = "SELECT job, body FROM payloads WHERE job IN (SELECT value FROM json_each(?))"


class SqliteStore(SqliteReads):
    """The store in a SQLite file. One process, so every other worker on record is dead."""

    sole_process = True

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
        return results, self._commit(db, transitions, now)

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
        claimed = [claimed_job(job, payloads[seq]) for seq, job in rows]
        return claimed, self._commit(db, transitions, now)

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
            owned = (
                row is not None
                and row.job.state == State.RUNNING
                and row.job.attempt == attempt.attempt
                and row.job.worker == worker
            )
            recorded.append(owned)
            if owned and row is not None:
                ended.append((row, attempt))
                del rows[attempt.job]
        return recorded, self._end(db, ended, now)

    def _end(
        self, db: sqlite3.Connection, ended: Sequence[tuple[Row, FinishedAttempt]], now: int
    ) -> Commit | None:
        if not ended:
            return None
        updates: list[tuple[Any, ...]] = []
        kept: list[tuple[int, Transition]] = []
        for row, attempt in ended:
            change, transition = ending(row.job, attempt, now)
            updates.append(_columns(row.seq, change))
            kept.append((row.seq, transition))
        db.executemany(_FINISH, updates)
        db.executemany(
            "INSERT OR REPLACE INTO results VALUES (?, ?)",
            [(row.seq, a.result) for row, a in ended if a.result is not None],
        )
        keep_history(db, kept)
        return self._commit(db, [t for _, t in kept], now)

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

    async def cancel(self, job_id: str, reason: str | None) -> tuple[Cancellation, Commit | None]:
        """See `StoreWrites.cancel`."""
        return await self._database.write(lambda db: self._cancel(db, job_id, reason))

    def _cancel(
        self, db: sqlite3.Connection, job_id: str, reason: str | None
    ) -> tuple[Cancellation, Commit | None]:
        now = self._database.now()
        seq, job = one_row(db, job_id)
        state = State(job.state)
        if not allows(state, Move.CANCEL):
            raise IllegalTransition(f"the job is {state} already; it cannot be cancelled")
        if state is State.RUNNING:
            requested = job.cancel_requested_at or now
            db.execute("UPDATE jobs SET cancel_requested_at = ? WHERE seq = ?", (requested, seq))
            return Cancellation(state, job.version, requested), None
        change, transition = cancellation(job, reason, now)
        db.execute(_FINISH, _columns(seq, change))
        keep_history(db, [(seq, transition)])
        commit = self._commit(db, [transition], now)
        return Cancellation(State.CANCELLED, transition.version, None), commit

    async def requeue(self, job_id: str) -> tuple[int, Commit]:
        """See `StoreWrites.requeue`."""

        def work(db: sqlite3.Connection) -> tuple[int, Commit]:
            now = self._database.now()
            seq, job = one_row(db, job_id)
            transition = job.transition(
                Move.REQUEUE_BY_OPERATOR, now, None, reason="retried", suspect=False
            )
            db.execute(_QUEUE, (seq, transition.version, now, 0, 0))
            keep_history(db, [(seq, transition)])
            return transition.version, self._commit(db, [transition], now)

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

    # Liveness and maintenance

    async def register_worker(self, worker: WorkerRecord) -> None:
        """See `StoreLiveness.register_worker`."""
        row = (
            worker.id, worker.host, worker.pid, worker.started_at, self._database.now(),
            worker.state, worker.concurrency, worker.running,
            _encode(worker.queues).decode(), _encode(worker.job_types).decode(),
        )  # fmt: skip
        await self._database.write(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
        )

    def heartbeat(self, worker: str, running: int, state: str) -> Pulse:
        """See `StoreLiveness.heartbeat`."""

        def work(db: sqlite3.Connection) -> Pulse:
            known = db.execute(
                "UPDATE workers SET seen_at = ?, running = ?, state = ? "
                "WHERE id = ? AND state IN ('active', 'draining')",
                (self._database.now(), running, state, worker),
            ).rowcount
            cancel = db.execute(
                "SELECT id, attempt FROM jobs WHERE worker = ? AND state = 'running' "
                "AND cancel_requested_at IS NOT NULL",
                (worker,),
            ).fetchall()
            return Pulse(known == 1, tuple((job, attempt) for job, attempt in cancel))

        return self._database.submit(work).result(timeout=60)

    async def unregister_worker(self, worker: str) -> None:
        """See `StoreLiveness.unregister_worker`."""
        await self._database.write(
            lambda db: db.execute(
                "UPDATE workers SET state = 'stopped', running = 0, seen_at = ? WHERE id = ?",
                (self._database.now(), worker),
            )
        )

    async def lead(self, worker: str, lease_us: int) -> bool:
        """See `StoreLiveness.lead`."""

        def work(db: sqlite3.Connection) -> bool:
            now = self._database.now()
            db.execute(
                "INSERT INTO leader VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE "
                "SET worker = ?1, until = ?2 WHERE worker = ?1 OR until < ?3 "
                "OR worker NOT IN (SELECT id FROM workers WHERE state = 'active')",
                (worker, now + lease_us, now),
            )
            (holder,) = db.execute("SELECT worker FROM leader").fetchone()
            return bool(holder == worker)

        return await self._database.write(work)

    async def promote(self, limit: int) -> Commit | None:
        """See `StoreLiveness.promote`."""
        due = await self.next_due()
        if due is None or due > self._database.now():
            return None
        return await self._database.write(lambda db: self._promote(db, limit))

    def _promote(self, db: sqlite3.Connection, limit: int) -> Commit | None:
        now = self._database.now()
        rows = current_rows(db, [id for (id,) in db.execute(_DUE, (now, limit))])
        if not rows:
            return None
        transitions = [job.transition(Move.PROMOTE, now, None) for _, job in rows]
        db.executemany(
            _QUEUE, [(seq, job.version + 1, now, job.failures, job.crashes) for seq, job in rows]
        )
        keep_history(db, [(seq, t) for (seq, _), t in zip(rows, transitions, strict=True)])
        return self._commit(db, transitions, now)

    async def rescue(
        self, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        """See `StoreLiveness.rescue`."""
        return await self._database.write(lambda db: self._rescue(db, caller, lease_us, limit))

    def _rescue(
        self, db: sqlite3.Connection, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        now = self._database.now()
        dead = self._worker_records(
            db,
            "state IN ('active', 'draining') AND seen_at < ? AND id <> ?",
            (now - lease_us, caller),
        )
        db.executemany(
            "UPDATE workers SET state = 'lost', running = 0 WHERE id = ?", [(w.id,) for w in dead]
        )
        rows = current_rows(db, [id for (id,) in db.execute(_ORPHANED, (limit, caller))])
        retries = _retries(db, {row.job.type for row in rows})
        ended = [
            (
                row,
                FinishedAttempt(
                    job=row.job.id,
                    attempt=row.job.attempt,
                    outcome=OutcomeKind.LOST,
                    retry=retries.get(row.job.type, Retry()),
                    jitter=self._jitter(),
                    error=ErrorInfo(
                        "WorkerLost", f"the worker {row.job.worker} died during the run"
                    ),
                ),
            )
            for row in rows
        ]
        return dead, self._end(db, ended, now)

    async def published(self, numbers: Sequence[int], publisher: str | None = None) -> None:
        """See `StoreLiveness.published`."""
        rows = [(publisher or self._publisher, number) for number in numbers]
        await self._database.write(
            lambda db: db.executemany("DELETE FROM outbox WHERE publisher = ? AND number = ?", rows)
        )

    async def prune(self, before: int, limit: int) -> Commit | None:
        """See `StoreLiveness.prune`."""
        return await self._database.write(lambda db: self._prune(db, before, limit))

    def _prune(self, db: sqlite3.Connection, before: int, limit: int) -> Commit | None:
        now = self._database.now()
        db.execute(
            "DELETE FROM idempotency_keys WHERE created_at < ?",
            (min(before, now - IDEMPOTENCY_KEPT_US),),
        )
        db.execute(
            "DELETE FROM workers WHERE state IN ('lost', 'stopped') AND seen_at < ?", (before,)
        )
        found = db.execute(
            "SELECT id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ?",
            (before, limit),
        )
        rows = [
            r
            for r in current_rows(db, [id for (id,) in found])
            if allows(State(r.job.state), Move.PRUNE)
        ]
        if not rows:
            return None
        transitions = [job.transition(Move.PRUNE, now, None) for _, job in rows]
        seqs = [(row.seq,) for row in rows]
        for table in ("payloads", "results", "history", "job_logs"):
            db.executemany(f"DELETE FROM {table} WHERE job = ?", seqs)  # noqa: S608 - our own names
        db.executemany("DELETE FROM jobs WHERE seq = ?", seqs)
        return self._commit(db, transitions, now)

    async def close(self) -> None:
        """The database is closed by whoever opened it."""

    # What every change ends with

    def _commit(
        self, db: sqlite3.Connection, transitions: Sequence[Transition], now: int
    ) -> Commit:
        (number,) = db.execute(
            "INSERT INTO publishers VALUES (?1, 1, ?2) ON CONFLICT (id) DO UPDATE "
            "SET last_number = last_number + 1, seen_at = ?2 RETURNING last_number",
            (self._publisher, now),
        ).fetchone()
        db.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?)",
            (self._publisher, number, now, _encode(transitions).decode()),
        )
        return Commit(self._publisher, number, tuple(transitions))


def _columns(seq: int, change: Ending) -> tuple[Any, ...]:
    """The values of `finish_job.sql`."""
    return (seq, *msgspec.structs.astuple(change)[1:])


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


def _retries(db: sqlite3.Connection, names: set[str]) -> dict[str, Retry]:
    found = db.execute(
        "SELECT body FROM job_types WHERE name IN (SELECT value FROM json_each(?))",
        (_encode(list(names)).decode(),),
    )
    types = [msgspec.json.decode(body, type=JobType) for (body,) in found]
    return {job_type.name: job_type.retry for job_type in types}
