"""The store on SQLite: workers, what falls due or was left behind, and what is old."""

import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.reads import SqliteReads, decode_transitions, worker_records
from observatory.backends.sqlite.recording import QUEUE, end_runs, keep_history, number_commit
from observatory.backends.sqlite.rows import current_rows
from observatory.backends.sqlite.sql import statement
from observatory.core.change import lost
from observatory.core.job import Commit, Transition, WorkerRecord
from observatory.core.job_type import JobType, Retry
from observatory.core.lifecycle import SUSPECT_CRASHES, Move, State, allows
from observatory.core.store import IDEMPOTENCY_KEPT_US, PUBLISHER_KEPT_US, Pulse

_DUE: Final = statement("select_due")
_ORPHANED: Final = statement("select_orphaned")

_encode = msgspec.json.Encoder().encode


class SqliteLiveness(SqliteReads):
    """What notices the dead, the due and the old; `SqliteStore` adds what callers ask for."""

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

    # Workers

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

    async def runs(self, worker: str) -> list[tuple[str, int]]:
        """See `StoreLiveness.runs`."""
        query = "SELECT id, attempt FROM jobs WHERE state = 'running' AND worker = ?"
        return await self._database.read(lambda db: db.execute(query, (worker,)).fetchall())

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

    # What is due

    async def next_due(self) -> int | None:
        """See `StoreLiveness.next_due`."""
        query = "SELECT min(scheduled_at) FROM jobs WHERE state IN ('scheduled', 'retrying')"
        return await self._database.read(lambda db: db.execute(query).fetchone()[0])

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
            QUEUE, [(seq, job.version + 1, now, job.failures, job.crashes) for seq, job in rows]
        )
        keep_history(db, [(seq, t) for (seq, _), t in zip(rows, transitions, strict=True)])
        return number_commit(db, transitions, now, self._publisher)

    # What was left behind

    async def rescue(
        self, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        """See `StoreLiveness.rescue`."""
        return await self._database.write(lambda db: self._rescue(db, caller, lease_us, limit))

    def _rescue(
        self, db: sqlite3.Connection, caller: str, lease_us: int, limit: int
    ) -> tuple[list[WorkerRecord], Commit | None]:
        now = self._database.now()
        dead = worker_records(
            db,
            "state IN ('active', 'draining') AND seen_at < ? AND id <> ?",
            (now - lease_us, caller),
        )
        db.executemany(
            "UPDATE workers SET state = 'lost', running = 0 WHERE id = ?", [(w.id,) for w in dead]
        )
        rows = current_rows(db, [id for (id,) in db.execute(_ORPHANED, (limit, caller))])
        retries = _retries(db, {row.job.type for row in rows})
        ended = [(row, lost(row.job, retries.get(row.job.type), self._jitter())) for row in rows]
        return dead, end_runs(db, ended, now, self._publisher)

    async def unpublished(self, older_than_us: int, limit: int) -> list[Commit]:
        """See `StoreLiveness.unpublished`."""
        query = (
            "SELECT publisher, number, body FROM outbox WHERE publisher IN "
            "(SELECT publisher FROM outbox WHERE created_at <= ?) "
            "ORDER BY rowid LIMIT ?"
        )
        before = self._database.now() - older_than_us
        return await self._database.read(
            lambda db: [
                Commit(publisher, number, decode_transitions(body))
                for publisher, number, body in db.execute(query, (before, limit))
            ]
        )

    async def queued(self, before: int, after_id: str, limit: int) -> list[Transition]:
        """See `StoreLiveness.queued`."""
        query = (
            "SELECT id, version, queued_at, type, queue, priority, attempt, contract_version, "
            "crashes FROM jobs WHERE state = 'queued' AND id > ? AND queued_at < ? "
            "ORDER BY id LIMIT ?"
        )

        def work(db: sqlite3.Connection) -> list[Transition]:
            return [
                Transition(
                    job=id,
                    version=version,
                    move=Move.PROMOTE,
                    at=at,
                    type=type,
                    queue=queue,
                    priority=priority,
                    attempt=attempt,
                    state=State.QUEUED,
                    contract_version=contract_version,
                    suspect=crashes >= SUSPECT_CRASHES,
                )
                for (
                    id, version, at, type, queue, priority, attempt, contract_version, crashes,
                ) in db.execute(query, (after_id, before, limit))
            ]  # fmt: skip

        return await self._database.read(work)

    async def published(self, numbers: Sequence[int], publisher: str | None = None) -> None:
        """See `StoreLiveness.published`."""
        rows = [(publisher or self._publisher, number) for number in numbers]
        await self._database.write(
            lambda db: db.executemany("DELETE FROM outbox WHERE publisher = ? AND number = ?", rows)
        )

    # What is old

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
        db.execute(
            "DELETE FROM publishers WHERE seen_at < ? "
            "AND NOT EXISTS (SELECT 1 FROM outbox WHERE publisher = publishers.id)",
            (now - PUBLISHER_KEPT_US,),
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
        return number_commit(db, transitions, now, self._publisher)


def _retries(db: sqlite3.Connection, names: set[str]) -> dict[str, Retry]:
    found = db.execute(
        "SELECT body FROM job_types WHERE name IN (SELECT value FROM json_each(?))",
        (_encode(list(names)).decode(),),
    )
    types = [msgspec.json.decode(body, type=JobType) for (body,) in found]
    return {job_type.name: job_type.retry for job_type in types}
