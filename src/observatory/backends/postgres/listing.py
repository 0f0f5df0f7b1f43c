"""The query of a list of jobs: made of branches that each walk one index in the order of the list.

PostgreSQL cannot walk an index on (state, id) in the order of ids for several states at once; so
each state is a branch of its own, with the list's limit, and the branches are merged.

A condition on `created_at` becomes one on the ids, which hold the time they were made at. Jobs
whose id is far off `created_at` (a clock was wrong) are marked `skewed` when they are accepted and
form one more branch over the small index of their own.
"""

from typing import Any, Final

import msgspec

from observatory.backends.postgres.rows import ids_between
from observatory.backends.postgres.sql import statement
from observatory.core.lifecycle import State
from observatory.core.store import FAILURES_MAX, HOUR_US, JobFilter

COLUMNS: Final = (
    "id, type, queue, priority, state, attempt, failures, crashes, version, max_attempts, "
    "timeout_s, created_at, scheduled_at, queued_at, started_at, finished_at, worker, "
    "cancel_requested_at, correlation_id, parent_id, contract_version, idempotency_key, "
    "progress, error_type, error_message, cancel_reason, traceparent"
)

_EQUAL: Final = ("type", "queue", "worker", "correlation_id", "parent_id", "error_fingerprint")
_FAILING: Final = "state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL"
_SELECTIVE: Final = ("worker", "correlation_id", "parent_id", "error_fingerprint")
"""Columns whose indexes have no state before the id."""


_SHOWN: Final = COLUMNS.replace("id,", "id::text,", 1)


def listing(where: JobFilter, before: str | None, limit: int) -> tuple[bytes, list[Any]]:
    """The query and its values."""
    query = _Query()
    text = f"SELECT {_SHOWN} FROM ({_walk(query, '*', where, before, limit)}) AS jobs"  # noqa: S608
    return f"{text} ORDER BY jobs.id DESC".encode(), query.values


def search(
    where: JobFilter, text: str, before: str | None, depth: int, limit: int
) -> tuple[bytes, list[Any]]:
    """The query of those with a text, among the first `depth` of a list."""
    query = _Query()
    # Of ids alone, since the planner would walk another index for the sake of whole rows; and
    # OFFSET 0, since it would join them by reading the whole table.
    walk = _walk(query, "id", where, before, depth)
    row = "SELECT * FROM jobs WHERE jobs.id = walk.id OFFSET 0"
    found = _text(query, text)
    tail = f"ORDER BY walk.id DESC LIMIT {query.value(limit, 'bigint')}"
    shown = ", ".join(f"jobs.{column}" for column in _SHOWN.split(", "))
    return (
        f"SELECT {shown} FROM ({walk}) AS walk CROSS JOIN LATERAL ({row}) AS jobs "  # noqa: S608
        f"WHERE {found} {tail}"
    ).encode(), query.values


def reach(where: JobFilter, before: str | None, depth: int) -> tuple[bytes, list[Any]]:
    """The query of the last id among the first `depth` of a list; no row if it is shorter."""
    query = _Query()
    walk = _walk(query, "id", where, before, depth)
    text = f"SELECT id::text FROM ({walk}) AS jobs ORDER BY jobs.id DESC OFFSET {depth - 1}"  # noqa: S608
    return text.encode(), query.values


def _walk(query: "_Query", columns: str, where: JobFilter, before: str | None, limit: int) -> str:
    common = _conditions(query, where, before)
    tail = f"ORDER BY jobs.id DESC LIMIT {query.value(limit, 'bigint')}"
    timed = where.since is not None or where.until is not None
    branches = [[*common, *one] for one in _branches(query, where, timed)]
    parts = [f"SELECT {columns} FROM jobs WHERE {_all(one)} {tail}" for one in branches]  # noqa: S608
    if len(parts) == 1:
        return parts[0]
    union = " UNION ALL ".join(f"({part})" for part in parts)
    return f"SELECT {columns} FROM ({union}) AS jobs {tail}"  # noqa: S608


def failing(
    type: str | None,
    queue: str | None,
    since: int | None,
    limit: int,
    now: int,
    newest: int = FAILURES_MAX,
) -> tuple[bytes, list[Any]]:
    """The query of the failures, and its values: the newest are found by an index."""
    query = _Query()
    query.values = [newest, limit, now - HOUR_US, now - 2 * HOUR_US]
    conditions = [_FAILING]
    if type is not None:
        conditions.append(f"type = {query.value(type, 'text')}")
    if queue is not None:
        conditions.append(f"queue = {query.value(queue, 'text')}")
    if since is not None:
        conditions.append(f"coalesce(finished_at, started_at) >= {query.value(since, 'bigint')}")
    text = statement("select_failures").decode()
    return text.replace(_FAILING, _all(conditions)).encode(), query.values


class _Query:
    """Values with the names that stand for them in the text."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def value(self, value: Any, type: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{type}"


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "true"


def _conditions(query: _Query, where: JobFilter, before: str | None) -> list[str]:
    conditions = [
        f"{column} = {query.value(value, 'text')}"
        for column in _EQUAL
        if (value := getattr(where, column)) is not None
    ]
    if where.since is not None:
        conditions.append(f"created_at >= {query.value(where.since, 'bigint')}")
    if where.until is not None:
        conditions.append(f"created_at < {query.value(where.until, 'bigint')}")
    if before is not None:
        conditions.append(f"jobs.id < {query.value(before, 'uuid')}")
    return conditions


def _branches(query: _Query, where: JobFilter, timed: bool) -> list[list[str]]:
    states = list(dict.fromkeys(where.states))
    selective = any(getattr(where, column) is not None for column in _SELECTIVE)
    by_kind = where.type is not None or where.queue is not None
    branches: list[list[str]] = []
    if selective and states:
        # Few rows are left by the other condition; one walk over them is enough.
        wanted = ", ".join(query.value(str(state), "text") for state in states)
        branches.append([f"state IN ({wanted})"])
    elif states or (by_kind and not selective):
        branches += [[f"state = {query.value(str(one), 'text')}"] for one in states or State]
    else:
        branches.append([])
    if not timed:
        return branches
    bounds = ["NOT skewed"]
    lower, upper = ids_between(where.since, where.until)
    if lower is not None:
        bounds.append(f"jobs.id >= {query.value(lower, 'uuid')}")
    if upper is not None:
        bounds.append(f"jobs.id < {query.value(upper, 'uuid')}")
    skewed = ["skewed"]
    if states:
        wanted = ", ".join(query.value(str(state), "text") for state in states)
        skewed.append(f"state IN ({wanted})")
    return [*([*one, *bounds] for one in branches), skewed]


def _text(query: _Query, text: str) -> str:
    plain = query.value(_like(text), "text")
    # A payload is kept as JSON, in which quotes and backslashes are escaped.
    escaped = query.value(_like(msgspec.json.encode(text)[1:-1].decode()), "text")
    # As EXISTS the planner would read the whole history for once, and not a row for each job.
    payload = "SELECT document FROM history WHERE history.job = jobs.id AND history.version = 1"
    return (
        f"(jobs.id::text ILIKE {plain} OR type ILIKE {plain} OR correlation_id ILIKE {plain} "
        f"OR error_message ILIKE {plain} OR error_type ILIKE {plain} "
        f"OR ({payload}) ILIKE {escaped})"
    )


def _like(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return f"%{text}%"
