"""The store on PostgreSQL: what shows jobs. Runs on connections of its own beside the writer."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from observatory.backends.postgres.database import Database
from observatory.backends.postgres.listing import COLUMNS, failing, listing, reach, search
from observatory.backends.postgres.rows import is_id
from observatory.backends.postgres.sql import statement
from observatory.backends.postgres.transaction import Transaction
from observatory.core.aggregates import Counted, Deltas, fold_transitions
from observatory.core.errors import InvalidCursor
from observatory.core.instant import MICROSECONDS
from observatory.core.job import (
    Commit,
    Job,
    JobLogLine,
    Progress,
    Transition,
    WorkerRecord,
)
from observatory.core.job_type import JobType
from observatory.core.lifecycle import ErrorInfo, State
from observatory.core.store import (
    BACKLOG_COUNTED_MAX,
    LIST_MAX,
    LOG_POSITION_MAX,
    SEARCHED_MAX,
    WORKERS_SHOWN_US,
    Backlog,
    FailureGroup,
    Found,
    JobFilter,
    Snapshot,
    Workforce,
)

_SHOWN: Final = COLUMNS.replace("id,", "id::text,", 1)
_JOB: Final = f"SELECT {_SHOWN} FROM jobs WHERE id = $1".encode()  # noqa: S608 - our own names
_JOBS: Final = f"SELECT {_SHOWN} FROM jobs WHERE id = ANY ($1::uuid[])".encode()  # noqa: S608
_OLDEST_QUEUED: Final = statement("select_oldest_queued")
_QUEUES: Final = statement("select_queues")
_WORKFORCE: Final = statement("select_workforce")
_BACKLOG: Final = statement("select_backlog")

_SIZE_KEPT_S: Final = 60.0
"""How long the size of the database is told again without looking."""

_HISTORY_PAGE: Final = 5_000
"""Transitions that a snapshot fetches at once."""

_decode_transition = msgspec.json.Decoder(Transition).decode
decode_transitions = msgspec.json.Decoder(tuple[Transition, ...]).decode
_decode_counted = msgspec.json.Decoder(Counted).decode


class PostgresReads:
    """What shows jobs; `PostgresLiveness` and `PostgresStore` add what changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bytes = 0
        self._size_until = 0.0

    async def now(self) -> int:
        """See `StoreReads.now`."""
        return await self._database.read(lambda db: db.now)

    async def job(self, job_id: str) -> Job | None:
        """See `StoreReads.job`."""
        if not is_id(job_id):
            return None

        def work(db: Transaction) -> Job | None:
            rows = db.execute(_JOB, (job_id,))
            if not rows:
                return None
            (row,) = rows
            version, state, error_type = row[8], row[4], row[23]
            shown = version if state == State.COMPLETED else 0
            documents = dict(
                db.execute(
                    b"SELECT version, document FROM history "
                    b"WHERE job = $1 AND version IN (1, $2) AND document IS NOT NULL",
                    (job_id, shown),
                )
            )
            error = _last_error(db, job_id) if error_type is not None else None
            return _job(row, payload=documents[1], result=documents.get(shown), error=error)

        return await self._database.read(work)

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """See `StoreReads.jobs`."""
        ids = [id for id in job_ids if is_id(id)]

        def work(db: Transaction) -> list[Job]:
            found = {row[0]: _job(row) for row in db.execute(_JOBS, (ids,))}
            return [found[id] for id in ids if id in found]

        return await self._database.read(work)

    async def list_jobs(self, where: JobFilter, before: str | None, limit: int) -> list[Job]:
        """See `StoreReads.list_jobs`."""
        if before is not None and not is_id(before):
            raise InvalidCursor("the cursor was not made by this system")
        query, values = listing(where, before, min(limit, LIST_MAX + 1))
        if _unheard(values):
            return []
        return await self._database.read(
            lambda db: [_job(row) for row in db.execute(query, values)]
        )

    async def search_jobs(
        self, where: JobFilter, text: str, before: str | None, limit: int
    ) -> Found:
        """See `StoreReads.search_jobs`."""
        if before is not None and not is_id(before):
            raise InvalidCursor("the cursor was not made by this system")
        limit = min(limit, LIST_MAX)
        looking = search(where, text, before, SEARCHED_MAX, limit)
        reaching = reach(where, before, SEARCHED_MAX)
        if _unheard(looking[1]):
            return Found([], None)

        def work(db: Transaction) -> Found:
            jobs = [_job(row) for row in db.execute(*looking)]
            if len(jobs) == limit:
                return Found(jobs, jobs[-1].id)
            ends = db.execute(*reaching)
            return Found(jobs, ends[0][0] if ends else None)

        return await self._database.read(work)

    async def history(self, job_id: str) -> list[Transition]:
        """See `StoreReads.history`."""
        if not is_id(job_id):
            return []
        query = b"SELECT body FROM history WHERE job = $1 ORDER BY version"
        return await self._database.read(
            lambda db: [_decode_transition(body) for (body,) in db.execute(query, (job_id,))]
        )

    async def job_logs(
        self, job_id: str, after: int | None, limit: int, *, newest_first: bool = False
    ) -> list[tuple[int, JobLogLine]]:
        """See `StoreReads.job_logs`."""
        if not is_id(job_id):
            return []
        beyond, order = (b"<", b"DESC") if newest_first else (b">", b"ASC")
        query = (
            b"SELECT position, attempt, at, level, message, fields FROM job_logs "
            b"WHERE job = $1 AND position %b $2 ORDER BY position %b LIMIT $3" % (beyond, order)
        )
        if after is None:
            after = LOG_POSITION_MAX if newest_first else 0
        values = (job_id, after, min(limit, LIST_MAX + 1))
        return await self._database.read(
            lambda db: [
                (
                    position,
                    JobLogLine(job_id, attempt, at, level, message, msgspec.json.decode(fields)),
                )
                for position, attempt, at, level, message, fields in db.execute(query, values)
            ]
        )

    async def failures(
        self, type: str | None, queue: str | None, since: int | None, limit: int
    ) -> list[FailureGroup]:
        """See `StoreReads.failures`."""

        def work(db: Transaction) -> list[FailureGroup]:
            query, values = failing(type, queue, since, min(limit, LIST_MAX), db.now)
            return [FailureGroup(*row) for row in db.execute(query, values)]

        return await self._database.read(work)

    async def oldest_queued(self) -> dict[str, int]:
        """See `StoreReads.oldest_queued`."""
        return await self._database.read(lambda db: dict(db.execute(_OLDEST_QUEUED)))

    async def queues(self, limit: int) -> list[str]:
        """See `StoreReads.queues`."""
        return await self._database.read(
            lambda db: [queue for (queue,) in db.execute(_QUEUES, (limit,))]
        )

    async def workers(self) -> list[WorkerRecord]:
        """See `StoreReads.workers`."""
        return await self._database.read(
            lambda db: worker_records(db, b"seen_at > $1", (db.now - WORKERS_SHOWN_US,))
        )

    async def workforce(self, lease_us: int) -> Workforce:
        """See `StoreReads.workforce`."""

        def work(db: Transaction) -> Workforce:
            (row,) = db.execute(_WORKFORCE, (db.now - lease_us, db.now - WORKERS_SHOWN_US))
            return Workforce(*row)

        return await self._database.read(work)

    async def paused_queues(self) -> dict[str, int]:
        """See `StoreReads.paused_queues`."""
        query = b"SELECT queue, paused_at FROM paused_queues ORDER BY queue"
        return await self._database.read(lambda db: dict(db.execute(query)))

    async def job_types(self) -> list[JobType]:
        """See `StoreReads.job_types`."""
        return await self._database.read(
            lambda db: [
                msgspec.json.decode(body, type=JobType)
                for (body,) in db.execute(b"SELECT body FROM job_types ORDER BY name")
            ]
        )

    async def snapshot(self, now: int | None = None) -> Snapshot:
        """See `StoreReads.snapshot`."""
        return await self._database.snapshot(lambda db: _snapshot(db, now))

    async def outbox(self, publisher: str, after: int, before: int) -> list[Commit]:
        """See `StoreReads.outbox`."""
        query = (
            b"SELECT publisher, number, body FROM outbox "
            b"WHERE publisher = $1 AND number > $2 AND number < $3 ORDER BY number"
        )
        return await self._database.read(
            lambda db: [
                Commit(name, number, decode_transitions(body))
                for name, number, body in db.execute(query, (publisher, after, before))
            ]
        )

    async def published_numbers(self) -> dict[str, int]:
        """See `StoreReads.published_numbers`."""
        query = (
            b"SELECT id, last_number FROM publishers "
            b"WHERE NOT EXISTS (SELECT FROM outbox WHERE publisher = publishers.id)"
        )
        return await self._database.read(lambda db: dict(db.execute(query)))

    async def outbox_backlog(self) -> Backlog:
        """See `StoreReads.outbox_backlog`."""
        return await self._database.read(
            lambda db: Backlog(*db.execute(_BACKLOG, (BACKLOG_COUNTED_MAX,))[0])
        )

    async def check(self) -> dict[str, Any]:
        """See `StoreReads.check`."""

        def work(db: Transaction) -> dict[str, Any]:
            ((schema, version),) = db.execute(
                b"SELECT version_num, current_setting('server_version') FROM alembic_version"
            )
            facts = {"backend": "postgresql", "schema": schema, "version": version}
            return facts | {"bytes": self._size(db)}

        return await self._database.read(work)

    def _size(self, db: Transaction) -> int:
        # It costs a look at every file of the database, and probes ask every few seconds.
        if time.monotonic() > self._size_until:
            ((self._bytes,),) = db.execute(b"SELECT pg_database_size(current_database())")
            self._size_until = time.monotonic() + _SIZE_KEPT_S
        return self._bytes


def _unheard(values: Sequence[Any]) -> bool:
    """Whether a value holds what no text in the database does."""
    return any("\0" in value for value in values if isinstance(value, str))


def worker_records(
    db: Transaction, where: bytes, values: Sequence[Any], *, lock: bool = False
) -> list[WorkerRecord]:
    """The workers for which a condition holds, the newest first; their rows locked if wanted."""
    rows = db.execute(
        b"SELECT id, host, pid, started_at, seen_at, state, concurrency, running, queues, "
        b"job_types FROM workers WHERE %b ORDER BY started_at DESC LIMIT %d %b"
        % (where, LIST_MAX, b"FOR NO KEY UPDATE" if lock else b""),
        values,
    )
    return [
        WorkerRecord(
            id=id,
            host=host,
            pid=pid,
            started_at=started_at,
            seen_at=seen_at,
            state=state,
            concurrency=concurrency,
            running=running,
            queues=tuple(msgspec.json.decode(queues)),
            job_types=tuple(msgspec.json.decode(job_types)),
        )
        for (
            id, host, pid, started_at, seen_at, state, concurrency, running, queues, job_types,
        ) in rows
    ]  # fmt: skip


def _snapshot(db: Transaction, now: int | None) -> Snapshot:
    deltas = Deltas(None if now is None else now // MICROSECONDS)
    counts = db.execute(b"SELECT type, queue, state, count(*) FROM jobs GROUP BY 1, 2, 3")
    for type, queue, state, count in counts:
        deltas.states[type, queue, state] = count
    fold_transitions(_whole_history(db), deltas)
    return Snapshot(deltas, dict(db.execute(b"SELECT id, last_number FROM publishers")))


def _whole_history(db: Transaction) -> Iterator[Counted]:
    db.execute(b"DECLARE whole NO SCROLL CURSOR FOR SELECT body FROM history")
    while rows := db.execute(b"FETCH %d FROM whole" % _HISTORY_PAGE):
        for (body,) in rows:
            yield _decode_counted(body)


def _last_error(db: Transaction, job_id: str) -> ErrorInfo | None:
    # The newest transitions first, a few at a time: the error is in one of the last.
    before = 2**31 - 1
    query = (
        b"SELECT version, body FROM history WHERE job = $1 AND version < $2 "
        b"ORDER BY version DESC LIMIT 8"
    )
    while rows := db.execute(query, (job_id, before)):
        for version, body in rows:
            if (error := _decode_transition(body).error) is not None:
                return error
            before = version
    return None


def _job(
    row: Sequence[Any],
    *,
    payload: str | None = None,
    result: str | None = None,
    error: ErrorInfo | None = None,
) -> Job:
    progress = None if row[22] is None else Progress(*msgspec.json.decode(row[22]))
    if error is None and row[23] is not None:
        error = ErrorInfo(row[23], row[24] or "")
    return Job(
        id=row[0],
        type=row[1],
        queue=row[2],
        priority=row[3],
        state=State(row[4]),
        attempt=row[5],
        failures=row[6],
        crashes=row[7],
        version=row[8],
        max_attempts=row[9],
        timeout_s=row[10],
        created_at=row[11],
        scheduled_at=row[12],
        queued_at=row[13],
        started_at=row[14],
        finished_at=row[15],
        worker=row[16],
        cancel_requested_at=row[17],
        cancel_reason=row[25],
        correlation_id=row[18],
        parent_id=row[19],
        contract_version=row[20],
        idempotency_key=row[21],
        traceparent=row[26],
        progress=progress,
        error=error,
        payload=payload,
        result=result,
    )
