"""How PostgreSQL goes about the store's questions and changes: by index, at every size."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from conformance.postgres import drop_database, new_database, server
from observatory.backends.postgres.listing import failing, listing, reach, search
from observatory.backends.postgres.recording import CLAIM, FINISH, PRUNE
from observatory.backends.postgres.rows import id_at
from observatory.backends.postgres.sql import statement
from observatory.core.lifecycle import State
from observatory.core.store import SEARCHED_MAX, JobFilter

JOBS: Final = 120_000
START_US: Final = 1_700_000_000_000_000
STEP_US: Final = 1_000_000

_FILL: Final = """
INSERT INTO jobs (id, type, queue, priority, state, max_attempts, contract_version, skewed,
    created_at, scheduled_at, queued_at, started_at, finished_at, worker, correlation_id,
    parent_id, error_type, error_message, error_fingerprint)
SELECT id, 'type.' || n %% 20, 'queue.' || n %% 5, 'normal', state, 3, 1, false,
    at, CASE WHEN state IN ('scheduled', 'retrying') THEN at END, at, at,
    CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN at END,
    'worker.' || n %% 10, 'correlation.' || n / 3,
    CASE WHEN n %% 10 = 0 THEN 'parent.' || n / 100 END,
    CASE WHEN state = 'failed' THEN 'ValueError' END,
    CASE WHEN state = 'failed' THEN 'it broke' END,
    CASE WHEN state = 'failed' THEN 'print.' || n %% 7 END
FROM (
    SELECT n, %(start)s + n::bigint * %(step)s AS at,
        CAST(lpad(to_hex((%(start)s + n::bigint * %(step)s) / 1000), 12, '0')
            || '7' || lpad(to_hex(n %% 4096), 3, '0') || '8000' || lpad(to_hex(n), 12, '0')
            AS uuid) AS id,
        CASE WHEN n %% 1000 = 0 THEN 'failed' WHEN n %% 1000 = 1 THEN 'cancelled'
            WHEN n > %(jobs)s - 200 THEN 'queued' WHEN n %% 1000 = 2 THEN 'retrying'
            WHEN n %% 1000 = 3 THEN 'scheduled' WHEN n > %(jobs)s - 300 THEN 'running'
            ELSE 'completed' END AS state
    FROM generate_series(1, %(jobs)s) AS n
) AS made
"""


@pytest.fixture(scope="module")
def db() -> Iterator[psycopg.Connection[Any]]:
    """A database with many jobs, most of them completed long ago."""
    url = new_database(server())
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as filling:
        filling.execute(_FILL, {"start": START_US, "step": STEP_US, "jobs": JOBS})
        filling.execute(
            "INSERT INTO history SELECT id, 1, '{}', '{}' FROM jobs;"
            "INSERT INTO workers VALUES ('worker.1', 'h', 1, 1, 1, 'active', 1, 1, '[]', '[]')"
        )
        filling.execute("VACUUM (ANALYZE)")
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        yield connection
    drop_database(server(), url)


def plan(db: psycopg.Connection[Any], query: bytes, values: Any) -> dict[str, Any]:
    with db.transaction(force_rollback=True):
        (found,) = db.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + query, values).fetchone() or ()
    return dict((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])


def nodes(of: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield of
    for below in of.get("Plans", ()):
        yield from nodes(below)


def assert_by_index(found: dict[str, Any], rows_max: float) -> None:
    """Big tables are read by index, and not many rows of them."""
    for node in nodes(found):
        if node.get("Relation Name") in ("jobs", "history"):
            assert node["Node Type"] != "Seq Scan", json.dumps(found, indent=1)
            read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            assert read * node["Actual Loops"] <= rows_max, json.dumps(found, indent=1)


AT: Final = START_US + 1000 * STEP_US
FILTERS: Final = {
    "nothing": JobFilter(),
    **{f"state {state}": JobFilter(states=(state,)) for state in State},
    "several states": JobFilter(states=(State.FAILED, State.RETRYING, State.RUNNING)),
    "type": JobFilter(type="type.3"),
    "unknown type": JobFilter(type="type.unknown"),
    "queue": JobFilter(queue="queue.3"),
    "type and rare state": JobFilter(type="type.0", states=(State.FAILED,)),
    "queue and rare states": JobFilter(queue="queue.0", states=(State.FAILED, State.RETRYING)),
    "worker": JobFilter(worker="worker.3"),
    "unknown worker": JobFilter(worker="worker.unknown"),
    "correlation": JobFilter(correlation_id="correlation.7"),
    "parent": JobFilter(parent_id="parent.7"),
    "error": JobFilter(error_fingerprint="print.3"),
    "since": JobFilter(since=START_US + (JOBS - 100) * STEP_US),
    "until long ago": JobFilter(until=AT),
    "between": JobFilter(since=AT, until=AT + 60 * STEP_US),
    "state and until long ago": JobFilter(states=(State.COMPLETED,), until=AT),
    "type and until long ago": JobFilter(type="type.3", until=AT),
    "states, queue, between": JobFilter(
        states=(State.FAILED, State.COMPLETED), queue="queue.3", since=AT, until=AT + 60 * STEP_US
    ),
    "error and until": JobFilter(error_fingerprint="print.3", until=AT),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("paged", [False, True])
def test_a_list_is_read_by_index_and_no_further_than_it_shows(
    db: psycopg.Connection[Any], name: str, paged: bool
) -> None:
    before = id_at(AT + 500 * STEP_US) if paged else None

    query, values = listing(FILTERS[name], before, 50)

    assert_by_index(plan(db, query, values), 1500)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("paged", [False, True])
def test_a_search_looks_by_index_into_so_many_jobs_and_no_more(
    db: psycopg.Connection[Any], name: str, paged: bool
) -> None:
    before = id_at(AT + 500 * STEP_US) if paged else None

    query, values = search(FILTERS[name], "what no job holds", before, SEARCHED_MAX, 50)
    assert_by_index(plan(db, query, values), SEARCHED_MAX * 1.5)
    query, values = reach(FILTERS[name], before, SEARCHED_MAX)
    assert_by_index(plan(db, query, values), SEARCHED_MAX * 1.5)


FIELDS: Final = {
    "state": "states",
    "type": "type",
    "queue": "queue",
    "worker": "worker",
    "correlationId": "correlation_id",
    "parentId": "parent_id",
    "fingerprint": "error_fingerprint",
    "since": "since",
    "until": "until",
}
"""By its name in the contract, the field of a filter."""


def test_every_filter_of_the_contract_is_among_those_whose_plan_is_read() -> None:
    path = Path(__file__).parents[2] / "contracts/openapi/read-model.v1.json"
    contract = json.loads(path.read_text())
    known = contract["components"]["parameters"]
    given = contract["paths"]["/jobs"]["get"]["parameters"]
    documented = {(known[one["$ref"].rpartition("/")[2]] if "$ref" in one else one)["name"]
                  for one in given}  # fmt: skip
    none = JobFilter()
    alone = {
        changed[0]
        for where in FILTERS.values()
        if len(changed := [f for f in FIELDS.values() if getattr(where, f) != getattr(none, f)])
        == 1
    }

    assert documented - {"limit", "cursor", "q"} == set(FIELDS)
    assert set(FIELDS.values()) == set(JobFilter.__struct_fields__)
    assert alone == set(FIELDS.values())


@pytest.mark.parametrize("size", [1, 50, 200, 1000])
def test_changes_find_their_rows_by_index_at_every_size(
    db: psycopg.Connection[Any], size: int
) -> None:
    ids = [row[0] for row in db.execute(b"SELECT id::text FROM jobs LIMIT $1", (size,)).fetchall()]
    joined = ",".join(ids)
    for name, values in (("select_current", ()), ("select_claimable", ("worker.1",))):
        query = statement("lock_jobs") + statement(name)
        assert_by_index(plan(db, query, (joined, *values)), size * 2)

    claimed = [
        {"id": id, "version": 2, "attempt": 1, "started_at": 1, "worker": "w", "body": "{}"}
        for id in ids
    ]
    ended = [{"id": id, "version": 3, "state": "completed", "failures": 0, "crashes": 0, "body": ""}
             for id in ids]  # fmt: skip
    for rows, query in ((claimed, CLAIM), (ended, FINISH)):
        assert_by_index(plan(db, query, (json.dumps(rows), "boot", AT)), size * 2)
    pruned = [{"id": id, "body": "{}"} for id in ids]
    query = PRUNE
    assert_by_index(plan(db, query, (json.dumps(pruned), "boot", AT)), size * 2)


@pytest.mark.parametrize(
    ("name", "values", "rows_max"),
    [
        ("select_due", (AT, 100), 400),
        ("select_prunable", (AT, 100), 400),
        ("select_orphans", (100, "worker.0"), 1000),
        ("select_queued", (id_at(0), AT * 2, 100), 400),
        ("select_oldest_queued", (), 400),
        ("select_runs", ("worker.1",), 1000),
        ("beat", ("worker.3", 1, "active", 0), 400),
    ],
)
def test_maintenance_reads_by_index(
    db: psycopg.Connection[Any], name: str, values: tuple[Any, ...], rows_max: int
) -> None:
    assert_by_index(plan(db, statement(name), values), rows_max)


@pytest.mark.parametrize("type", [None, "type.0"])
@pytest.mark.parametrize("queue", [None, "queue.0"])
@pytest.mark.parametrize("since", [None, AT])
def test_the_newest_failures_are_found_by_index_and_no_more_are_read(
    db: psycopg.Connection[Any], type: str | None, queue: str | None, since: int | None
) -> None:
    query, values = failing(type, queue, since, 10, AT, newest=30)

    assert_by_index(plan(db, query, values), 60)


@pytest.mark.parametrize("size", [1, 50, 500])
def test_what_a_change_has_to_wait_for_is_found_by_index_in_a_long_outbox(
    db: psycopg.Connection[Any], size: int
) -> None:
    """As the writer asks: it has the planner read no whole table."""
    waiting = 10_000
    given = [{"job": id, "version": 9} for (id,) in
             db.execute(b"SELECT id::text FROM jobs LIMIT $1", (size,)).fetchall()]  # fmt: skip
    with db.transaction(force_rollback=True):
        for setting in (b"seqscan", b"hashjoin", b"mergejoin"):
            db.execute(b"SET LOCAL enable_%b = off" % setting)
        for row in given:
            db.execute(
                b"INSERT INTO history VALUES ($1::uuid, 9, $2, NULL)", (row["job"], '{"at": 7}')
            )
        db.execute(
            b"INSERT INTO outbox (publisher, number, created_at, body) "
            b"SELECT 'gateway', n, 1000 + n, '[]' FROM generate_series(1, $1) AS n",
            (waiting,),
        )
        found = plan(db, statement("select_unpublished_before"), (json.dumps(given), "boot"))

    for node in nodes(found):
        read = node["Actual Rows"] + node.get("Rows Removed by Join Filter", 0)
        read += node.get("Rows Removed by Filter", 0)
        assert read * node["Actual Loops"] <= 2 * size, json.dumps(found, indent=1)


def test_a_scrape_counts_a_long_outbox_up_to_a_limit_and_finds_its_oldest_by_index(
    db: psycopg.Connection[Any],
) -> None:
    limit = 100
    with db.transaction(force_rollback=True):
        db.execute(
            b"INSERT INTO outbox (publisher, number, created_at, body) "
            b"SELECT 'gateway', n, 1000 + n, '[]' FROM generate_series(1, 10000) AS n"
        )
        db.execute(b"ANALYZE outbox")
        answer = db.execute(statement("select_backlog"), (limit,)).fetchone()
        found = plan(db, statement("select_backlog"), (limit,))

    assert answer == (limit, 1001)
    read = [node for node in nodes(found) if node.get("Relation Name") == "outbox"]
    assert sorted(node["Actual Rows"] for node in read) == [1, limit], json.dumps(found, indent=1)


def test_the_next_due_job_is_found_by_index(db: psycopg.Connection[Any]) -> None:
    query = b"SELECT min(scheduled_at) FROM jobs WHERE state IN ('scheduled', 'retrying')"

    assert_by_index(plan(db, query, ()), 2)
