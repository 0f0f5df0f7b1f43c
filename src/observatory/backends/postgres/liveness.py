"""The store on PostgreSQL: workers, what falls due or was left behind, and what is old."""

import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from observatory.backends.postgres.database import Database
from observatory.backends.postgres.reads import PostgresReads, decode_transitions, worker_records
from observatory.backends.postgres.recording import PRUNE, QUEUE, end_lost_runs, record_in_order
from observatory.backends.postgres.rows import QueuedRow, body, current_rows, encode
from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction
from observatory.core.change import lost
from observatory.core.job import Commit, Transition, WorkerRecord
from observatory.core.job_type import JobType, Retry
from observatory.core.lifecycle import SUSPECT_CRASHES, Move, State, allows
from observatory.core.store import IDEMPOTENCY_KEPT_US, PUBLISHER_KEPT_US, Pulse

_FORGET_KEYS: Final = statement("forget_keys")
_DUE: Final = statement("select_due")
_ORPHANS: Final = statement("select_orphans")
_PRUNABLE: Final = statement("select_prunable")
_UNPUBLISHED: Final = statement("select_unpublished")
_QUEUED: Final = statement("select_queued")
_PUT_WORKER: Final = statement("put_worker")
_BEAT: Final = statement("beat")
_LEAD: Final = statement("lead")
_MAY_LEAD: Final = statement("may_lead")
_RUNS: Final = statement("select_runs")

_LOWEST_ID: Final = "00000000-0000-0000-0000-000000000000"

_KEYS_FORGOTTEN_MAX: Final = 10_000
"""How many keys one pruning removes at most."""

_PROMOTES_LATER_US: Final = 1_000_000
"""How long a due job is left alone while its last change is on its way to the log."""


class PostgresLiveness(PostgresReads):
    """What notices the dead, the due and the old; `PostgresStore` adds what callers ask for."""

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

    async def runs(self, worker: str) -> list[tuple[str, int]]:
        """See `StoreLiveness.runs`."""
        return await self._database.read(
            lambda db: [(id, attempt) for id, attempt in db.execute(_RUNS, (worker,))]
        )

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
        # Whoever does not lead writes nothing: even a change of no row would lock the leader's, for
        # as long as whatever else is committed with it.
        if not await self._database.read(lambda db: db.execute(_MAY_LEAD, (worker, db.now))):
            return False
        return await self._database.write(
            lambda db: bool(db.execute(_LEAD, (worker, db.now + lease_us, db.now)))
        )

    # What is due

    async def next_due(self) -> int | None:
        """See `StoreLiveness.next_due`."""
        return await self._database.read(_next_due)

    async def due(self) -> bool:
        """Whether a scheduled or retrying job is due."""

        def work(db: Transaction) -> bool:
            at = _next_due(db)
            return at is not None and at <= db.now

        return await self._database.read(work)

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
        return record_in_order(
            db, QUEUE, changed, transitions, self._publisher, patience_us=_PROMOTES_LATER_US
        )

    # What was left behind

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
        ended = [(row, lost(row, retries.get(row.type), self._jitter())) for row in rows]
        return dead, end_lost_runs(db, ended, self._publisher)

    async def unpublished(self, older_than_us: int, limit: int) -> list[Commit]:
        """See `StoreLiveness.unpublished`."""
        return await self._database.read(
            lambda db: [
                Commit(publisher, number, decode_transitions(body))
                for publisher, number, body in db.execute(
                    _UNPUBLISHED, (db.now - older_than_us, limit)
                )
            ]
        )

    async def queued(self, before: int, after_id: str, limit: int) -> list[Transition]:
        """See `StoreLiveness.queued`."""
        values = (after_id or _LOWEST_ID, before, limit)
        return await self._database.read(
            lambda db: [
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
                ) in db.execute(_QUEUED, values)
            ]
        )  # fmt: skip

    async def published(self, numbers: Sequence[int], publisher: str | None = None) -> None:
        """See `StoreLiveness.published`."""
        query = b"DELETE FROM outbox WHERE publisher = $1 AND number = ANY ($2::bigint[])"
        values = (publisher or self._publisher, list(numbers))
        # What comes back is published again, and recognised as a repeat.
        await self._database.write(lambda db: db.execute(query, values) and None, durable=False)

    # What is old

    async def prune(self, before: int, limit: int) -> Commit | None:
        """See `StoreLiveness.prune`."""
        return await self._database.write(lambda db: self._prune(db, before, limit))

    def _prune(self, db: Transaction, before: int, limit: int) -> Commit | None:
        db.execute(_FORGET_KEYS, (min(before, db.now - IDEMPOTENCY_KEPT_US), _KEYS_FORGOTTEN_MAX))
        db.execute(
            b"DELETE FROM workers WHERE state IN ('lost', 'stopped') AND seen_at < $1", (before,)
        )
        db.execute(
            b"DELETE FROM publishers WHERE seen_at < $1 "
            b"AND NOT EXISTS (SELECT FROM outbox WHERE publisher = publishers.id)",
            (db.now - PUBLISHER_KEPT_US,),
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
        return record_in_order(db, PRUNE, changed, transitions, self._publisher)


def _next_due(db: Transaction) -> int | None:
    ((at,),) = db.execute(
        b"SELECT min(scheduled_at) FROM jobs WHERE state IN ('scheduled', 'retrying')"
    )
    return at


def _retries(db: Transaction, names: set[str]) -> dict[str, Retry]:
    if not names:
        return {}
    found = db.execute(b"SELECT body FROM job_types WHERE name = ANY ($1)", (list(names),))
    types = [msgspec.json.decode(text, type=JobType) for (text,) in found]
    return {job_type.name: job_type.retry for job_type in types}
