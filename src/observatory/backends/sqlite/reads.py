"""The store on SQLite: what shows jobs. Runs on read-only connections beside the writer."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from observatory.backends.sqlite.database import Database
from observatory.backends.sqlite.sql import statement
from observatory.core.aggregates import Counted, Deltas, fold_transitions
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
    FAILURES_MAX,
    HOUR_US,
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

_COLUMNS: Final = (
    "id, type, queue, priority, state, attempt, failures, crashes, version, max_attempts, "
    "timeout_s, created_at, scheduled_at, queued_at, started_at, finished_at, worker, "
    "cancel_requested_at, correlation_id, parent_id, contract_version, idempotency_key, "
    "progress, error_type, error_message, cancel_reason, traceparent"
)

_FAILURES: Final = statement("select_failures")
_FAILING: Final = "state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL"
_OLDEST_QUEUED: Final = statement("select_oldest_queued")
_QUEUES: Final = statement("select_queues")
_WORKFORCE: Final = statement("select_workforce")
_BACKLOG: Final = statement("select_backlog")

_decode_transition = msgspec.json.Decoder(Transition).decode
decode_transitions = msgspec.json.Decoder(tuple[Transition, ...]).decode
_decode_counted = msgspec.json.Decoder(Counted).decode


class SqliteReads:
    """What shows jobs; `SqliteLiveness` and `SqliteStore` add what changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> int:
        """See `StoreReads.now`."""
        return self._database.now()

    async def job(self, job_id: str) -> Job | None:
        """See `StoreReads.job`."""

        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute(
                f"SELECT {_COLUMNS}, seq FROM jobs WHERE id = ?",  # noqa: S608 - our own names
                (job_id,),
            ).fetchone()
            if row is None:
                return None
            seq = row[-1]
            (payload,) = db.execute("SELECT body FROM payloads WHERE job = ?", (seq,)).fetchone()
            result = db.execute("SELECT body FROM results WHERE job = ?", (seq,)).fetchone()
            error = _last_error(db, seq) if row[23] is not None else None
            shown = result[0] if result and row[4] == State.COMPLETED else None
            return _job(row[:-1], payload=payload, result=shown, error=error)

        return await self._database.read(work)

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """See `StoreReads.jobs`."""

        def work(db: sqlite3.Connection) -> list[Job]:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE id IN (SELECT value FROM json_each(?))",  # noqa: S608
                (msgspec.json.encode(list(job_ids)).decode(),),
            )
            found = {row[0]: _job(row) for row in rows}
            return [found[id] for id in job_ids if id in found]

        return await self._database.read(work)

    async def list_jobs(self, where: JobFilter, before: str | None, limit: int) -> list[Job]:
        """See `StoreReads.list_jobs`."""
        conditions, values = _conditions(where)
        if before is not None:
            conditions.append("id < ?")
            values.append(before)
        query = (
            f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(conditions) or 'true'} "  # noqa: S608
            "ORDER BY id DESC LIMIT ?"
        )
        values.append(min(limit, LIST_MAX + 1))
        return await self._database.search(lambda db: [_job(r) for r in db.execute(query, values)])

    async def search_jobs(
        self, where: JobFilter, text: str, before: str | None, limit: int
    ) -> Found:
        """See `StoreReads.search_jobs`."""
        conditions, values = _conditions(where)
        if before is not None:
            conditions.append("id < ?")
            values.append(before)
        walk = (
            f"SELECT seq, {_COLUMNS} FROM jobs WHERE {' AND '.join(conditions) or 'true'} "  # noqa: S608
            f"ORDER BY id DESC LIMIT {SEARCHED_MAX}"
        )
        found, wanted = _text(text)
        limit = min(limit, LIST_MAX)
        query = f"SELECT {_COLUMNS} FROM ({walk}) AS jobs WHERE {found} ORDER BY id DESC LIMIT ?"  # noqa: S608
        reach = f"SELECT id FROM ({walk}) ORDER BY id DESC LIMIT 1 OFFSET {SEARCHED_MAX - 1}"  # noqa: S608

        def work(db: sqlite3.Connection) -> Found:
            jobs = [_job(row) for row in db.execute(query, [*values, *wanted, limit])]
            if len(jobs) == limit:
                return Found(jobs, jobs[-1].id)
            end = db.execute(reach, values).fetchone()
            return Found(jobs, None if end is None else end[0])

        return await self._database.search(work)

    async def history(self, job_id: str) -> list[Transition]:
        """See `StoreReads.history`."""
        query = (
            "SELECT body FROM history WHERE job = (SELECT seq FROM jobs WHERE id = ?) "
            "ORDER BY version"
        )
        return await self._database.read(
            lambda db: [_decode_transition(body) for (body,) in db.execute(query, (job_id,))]
        )

    async def job_logs(
        self, job_id: str, after: int | None, limit: int, *, newest_first: bool = False
    ) -> list[tuple[int, JobLogLine]]:
        """See `StoreReads.job_logs`."""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        query = (
            "SELECT position, attempt, at, level, message, fields FROM job_logs "  # noqa: S608
            f"WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND position {beyond} ? "
            f"ORDER BY position {order} LIMIT ?"
        )
        if after is None:
            after = LOG_POSITION_MAX if newest_first else 0

        def work(db: sqlite3.Connection) -> list[tuple[int, JobLogLine]]:
            rows = db.execute(query, (job_id, after, min(limit, LIST_MAX + 1)))
            return [
                (
                    position,
                    JobLogLine(job_id, attempt, at, level, message, msgspec.json.decode(fields)),
                )
                for position, attempt, at, level, message, fields in rows
            ]

        return await self._database.read(work)

    async def failures(
        self, type: str | None, queue: str | None, since: int | None, limit: int
    ) -> list[FailureGroup]:
        """See `StoreReads.failures`."""
        now = self._database.now()
        asked = {
            "type": ("type = :type", type),
            "queue": ("queue = :queue", queue),
            "since": ("coalesce(finished_at, started_at) >= :since", since),
        }
        given = {name: one for name, one in asked.items() if one[1] is not None}
        more = "".join(f" AND {condition}" for condition, _ in given.values())
        query = _FAILURES.replace(_FAILING, _FAILING + more)
        values = {name: value for name, (_, value) in given.items()} | {
            "newest": FAILURES_MAX,
            "groups": min(limit, LIST_MAX),
            "last_hour": now - HOUR_US,
            "hour_before": now - 2 * HOUR_US,
        }
        return await self._database.search(
            lambda db: [FailureGroup(*row) for row in db.execute(query, values)]
        )

    async def oldest_queued(self) -> dict[str, int]:
        """See `StoreReads.oldest_queued`."""
        return await self._database.read(lambda db: dict(db.execute(_OLDEST_QUEUED).fetchall()))

    async def queues(self, limit: int) -> list[str]:
        """See `StoreReads.queues`."""
        return await self._database.read(
            lambda db: [queue for (queue,) in db.execute(_QUEUES, (limit,))]
        )

    async def workers(self) -> list[WorkerRecord]:
        """See `StoreReads.workers`."""
        since = self._database.now() - WORKERS_SHOWN_US
        return await self._database.read(lambda db: worker_records(db, "seen_at > ?", (since,)))

    async def workforce(self, lease_us: int) -> Workforce:
        """See `StoreReads.workforce`."""
        now = self._database.now()
        values = (now - lease_us, now - WORKERS_SHOWN_US)
        return await self._database.read(
            lambda db: Workforce(*db.execute(_WORKFORCE, values).fetchone())
        )

    async def paused_queues(self) -> dict[str, int]:
        """See `StoreReads.paused_queues`."""
        query = "SELECT queue, paused_at FROM paused_queues ORDER BY queue"
        return await self._database.read(lambda db: dict(db.execute(query).fetchall()))

    async def job_types(self) -> list[JobType]:
        """See `StoreReads.job_types`."""
        return await self._database.read(
            lambda db: [
                msgspec.json.decode(body, type=JobType)
                for (body,) in db.execute("SELECT body FROM job_types ORDER BY name")
            ]
        )

    async def snapshot(self, now: int | None = None) -> Snapshot:
        """See `StoreReads.snapshot`."""
        return await asyncio.wrap_future(self._database.snapshot(lambda db: _snapshot(db, now)))

    async def outbox(self, publisher: str, after: int, before: int) -> list[Commit]:
        """See `StoreReads.outbox`."""
        query = (
            "SELECT publisher, number, body FROM outbox "
            "WHERE publisher = ? AND number > ? AND number < ? ORDER BY number"
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
            "SELECT id, last_number FROM publishers "
            "WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE publisher = publishers.id)"
        )
        return await self._database.read(lambda db: dict(db.execute(query).fetchall()))

    async def outbox_backlog(self) -> Backlog:
        """See `StoreReads.outbox_backlog`."""
        return await self._database.read(
            lambda db: Backlog(*db.execute(_BACKLOG, (BACKLOG_COUNTED_MAX,)).fetchone())
        )

    async def check(self) -> dict[str, Any]:
        """See `StoreReads.check`."""
        schema = await self._database.read(
            lambda db: db.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        )
        return {
            "backend": "sqlite",
            "schema": schema,
            "path": str(self._database.path),
            "bytes": self._database.path.stat().st_size,
        }


def worker_records(
    db: sqlite3.Connection, where: str, values: tuple[Any, ...]
) -> list[WorkerRecord]:
    """The workers for which a condition holds, the newest first."""
    rows = db.execute(
        "SELECT id, host, pid, started_at, seen_at, state, concurrency, running, queues, "  # noqa: S608
        f"job_types FROM workers WHERE {where} ORDER BY started_at DESC LIMIT {LIST_MAX}",
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


def _snapshot(db: sqlite3.Connection, now: int | None) -> Snapshot:
    deltas = Deltas(None if now is None else now // MICROSECONDS)
    counts = db.execute("SELECT type, queue, state, count(*) FROM jobs GROUP BY 1, 2, 3")
    for type, queue, state, count in counts:
        deltas.states[type, queue, state] = count
    bodies = db.execute("SELECT body FROM history")
    fold_transitions((_decode_counted(body) for (body,) in bodies), deltas)
    numbers = dict(db.execute("SELECT id, last_number FROM publishers").fetchall())
    return Snapshot(deltas, numbers)


def _conditions(where: JobFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if where.states:
        conditions.append(f"state IN ({', '.join('?' * len(where.states))})")
        values += where.states
    for column in ("type", "queue", "worker", "correlation_id", "parent_id", "error_fingerprint"):
        if (value := getattr(where, column)) is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if where.since is not None:
        conditions.append("created_at >= ?")
        values.append(where.since)
    if where.until is not None:
        conditions.append("created_at < ?")
        values.append(where.until)
    return conditions, values


def _text(text: str) -> tuple[str, list[Any]]:
    plain = _like(text)
    # A payload is kept as JSON, in which quotes and backslashes are escaped.
    escaped = _like(msgspec.json.encode(text)[1:-1].decode())
    condition = (
        r"(id LIKE ? ESCAPE '\' OR type LIKE ? ESCAPE '\' OR correlation_id LIKE ? ESCAPE '\' "
        r"OR error_message LIKE ? ESCAPE '\' OR error_type LIKE ? ESCAPE '\' OR EXISTS (SELECT 1 "
        r"FROM payloads WHERE payloads.job = jobs.seq AND payloads.body LIKE ? ESCAPE '\'))"
    )
    return condition, [*[plain] * 5, escaped]


def _like(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return f"%{text}%"


def _last_error(db: sqlite3.Connection, seq: int) -> ErrorInfo | None:
    rows = db.execute("SELECT body FROM history WHERE job = ? ORDER BY version DESC", (seq,))
    for (body,) in rows:
        if (error := _decode_transition(body).error) is not None:
            return error
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
