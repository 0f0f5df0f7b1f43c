"""Many jobs that have ended, put into PostgreSQL as the system would have left them.

Made in the database, since sending a million jobs through the system takes minutes: jobs of twenty
types in five queues, run by ten workers over the last sixteen hours, one in a hundred failed after
three attempts, each with its history as the store writes it.
"""

from typing import Any, Final

import msgspec
import psycopg

from observatory.core.job import Transition
from observatory.core.lifecycle import ErrorInfo, Move, OutcomeKind, State

TYPES: Final = 20
QUEUES: Final = 5
WORKERS: Final = 10
LIVE: Final = 600
"""Jobs that have not ended, beside those that have."""

_STEP_US: Final = 58_000
_CHUNK: Final = 100_000
_LONG_LOG: Final = 5_000

# When the job of a number was made, and its id.
_FUNCTIONS: Final = """
CREATE FUNCTION pg_temp.at(n bigint, newest bigint, last_us bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE AS $$ SELECT last_us - (newest - n) * {step} $$;
CREATE FUNCTION pg_temp.id(n bigint, at bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CAST(lpad(to_hex(at / 1000), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')
        || '8000' || lpad(to_hex(n), 12, '0') AS uuid) $$;
"""

_MADE: Final = """
CREATE TEMPORARY TABLE made AS
SELECT n, pg_temp.id(n, at) AS id, at, state,
    'work.' || kind AS type, 'queue-' || kind % {queues} AS queue,
    'host-' || n % {workers} || ':4711:b007' AS worker,
    'order-' || n / 3 AS correlation,
    CASE WHEN n % 10 = 0 THEN pg_temp.id(n / 100, pg_temp.at(n / 100, {jobs}, {last}))::text END
        AS parent,
    1000 + n * 7919 % 400000 AS wait_us, 2000 + n * 104729 % 3000000 AS run_us
FROM (
    SELECT *, CASE state WHEN 'failed' THEN n / 100 % 8 ELSE n / 3 % {types} END AS kind FROM (
        SELECT n, pg_temp.at(n, {jobs}, {last}) AS at,
            CASE WHEN n > {jobs} THEN (array['queued', 'scheduled', 'retrying'])[1 + n % 3]
                WHEN n % 100 = 0 THEN 'failed' WHEN n % 200 = 1 THEN 'cancelled'
                ELSE 'completed' END AS state
        FROM generate_series({first}::bigint, {last_n}::bigint) AS n
    ) AS numbered
) AS typed
"""

_JOBS: Final = """
INSERT INTO jobs (id, type, queue, priority, state, attempt, failures, version, max_attempts,
    contract_version, skewed, created_at, scheduled_at, queued_at, started_at, finished_at, worker,
    correlation_id, parent_id, error_type, error_message, error_fingerprint)
SELECT id, type, queue, 'normal', state,
    CASE state WHEN 'failed' THEN 3 WHEN 'completed' THEN 1 ELSE 0 END,
    CASE state WHEN 'failed' THEN 3 ELSE 0 END,
    CASE state WHEN 'failed' THEN 9 WHEN 'completed' THEN 3 WHEN 'cancelled' THEN 2 ELSE 1 END,
    3, 1, false, at,
    CASE WHEN state IN ('scheduled', 'retrying') THEN at + 86400000000 END, at,
    CASE WHEN state IN ('failed', 'completed') THEN at + wait_us END,
    CASE WHEN state IN ('failed', 'completed', 'cancelled') THEN at + wait_us + run_us END,
    CASE WHEN state IN ('failed', 'completed') THEN worker END,
    correlation, parent,
    CASE state WHEN 'failed' THEN 'ConnectionRefusedError' END,
    CASE state WHEN 'failed' THEN 'the mail server at 10.0.0.' || n % 250 || ' refused' END,
    CASE state WHEN 'failed' THEN left(md5(type), 16) END
FROM made
"""

_HISTORY: Final = """
INSERT INTO history (job, version, body, document)
SELECT id, {version},
    format($body${body}$body$, id, at + {after}, at, type, queue, worker, correlation), {document}
FROM made WHERE state IN ({states})
"""

_PAYLOAD: Final = """format(
    '{"to":"customer-%s@example.org","template":"order-confirmed","order":%s,'
    '"lines":[{"sku":"A-%s","count":2},{"sku":"B-%s","count":1}],"note":"%s"}',
    n, n / 3, n % 9973, n % 101, md5(n::text))"""
_RESULT: Final = """format(
    '{"messageId":"%s","accepted":true,"sizeBytes":%s}', md5(n::text), n % 4096)"""

_TRACEBACK: Final = "".join(
    f'  File "/srv/app/mail/delivery.py", line {line}, in {name}\n    {name}(message)\n'
    for line, name in ((41, "send"), (77, "connect"), (102, "open_socket"))
)
_ERROR: Final = ErrorInfo(
    "ConnectionRefusedError",
    "the mail server at 10.0.0.7 refused",
    f"Traceback (most recent call last):\n{_TRACEBACK}ConnectionRefusedError: refused\n",
)

_AT: Final = 1_111_111_111_111_111
_SINCE: Final = 2_222_222_222_222_222
_PLACES: Final = {
    "job": "%1$s", "type": "%4$s", "queue": "%5$s", "correlation_id": "%7$s",
}  # fmt: skip


def _body(**fields: Any) -> str:
    """A transition as the store encodes it, with places for format()."""
    known = {"priority": "normal", "max_attempts": 3, "attempt": 1, "at": _AT, **_PLACES}
    text = msgspec.json.encode(Transition(**known | fields)).decode()
    return text.replace(str(_AT), "%2$s").replace(str(_SINCE), "%3$s")


def _steps() -> list[dict[str, str]]:
    """What `_HISTORY` is told, for each transition of each way a job can go."""
    finished, failed = "'completed', 'failed'", "'failed'"
    error = {"outcome": OutcomeKind.ERROR, "error": _ERROR, "worker": "%6$s", "since": _SINCE}
    steps: list[tuple[int, str, str, str, dict[str, Any]]] = [
        (1, "'completed', 'failed', 'cancelled', 'queued'", "0", _PAYLOAD,
         {"move": Move.ACCEPT, "state": State.QUEUED, "attempt": 0}),
        (1, "'scheduled', 'retrying'", "0", _PAYLOAD,
         {"move": Move.DEFER, "state": State.SCHEDULED, "attempt": 0}),
        (2, finished, "wait_us", "NULL",
         {"move": Move.CLAIM, "state": State.RUNNING, "previous": State.QUEUED,
          "worker": "%6$s", "since": _SINCE}),
        (2, "'cancelled'", "wait_us + run_us", "NULL",
         {"move": Move.CANCEL, "state": State.CANCELLED, "previous": State.QUEUED, "attempt": 0}),
        (3, "'completed'", "wait_us + run_us", _RESULT,
         {"move": Move.COMPLETE, "state": State.COMPLETED, "previous": State.RUNNING,
          "outcome": OutcomeKind.COMPLETED, "worker": "%6$s", "since": _SINCE}),
        (9, failed, "wait_us + run_us", "NULL",
         {"move": Move.FAIL, "state": State.FAILED, "previous": State.RUNNING, "attempt": 3,
          **error}),
    ]  # fmt: skip
    for attempt in (1, 2):
        retry = {"state": State.RETRYING, "previous": State.RUNNING, "attempt": attempt, **error}
        again = {"state": State.QUEUED, "previous": State.RETRYING, "attempt": attempt}
        claim = {"state": State.RUNNING, "previous": State.QUEUED, "attempt": attempt + 1}
        version = 3 * attempt
        steps += [
            (version, failed, "wait_us", "NULL", {"move": Move.SCHEDULE_RETRY, **retry}),
            (version + 1, failed, "wait_us", "NULL", {"move": Move.PROMOTE, **again}),
            (version + 2, failed, "wait_us", "NULL",
             {"move": Move.CLAIM, "worker": "%6$s", "since": _SINCE, **claim}),
        ]  # fmt: skip
    return [
        {
            "version": str(version),
            "states": states,
            "after": after,
            "document": document,
            "body": _body(version=version, **fields),
        }
        for version, states, after, document, fields in steps
    ]


_LOGS: Final = f"""
INSERT INTO job_logs (job, attempt, at, level, message, fields)
SELECT id, 1, at + line, 'info', 'sent part ' || line || ' of the message',
    '{{"part":' || line || '}}'
FROM made, generate_series(1, CASE WHEN n % 100000 = 2 THEN {_LONG_LOG} ELSE 20 END) AS line
WHERE n % 100 = 2
"""

_BESIDE: Final = f"""
INSERT INTO workers
SELECT 'host-' || n || ':4711:b007', 'host-' || n, 4711, {{last}} - 3600000000, {{last}},
    CASE WHEN n < {WORKERS} THEN 'active' ELSE 'stopped' END, 100, 0, '["default"]', '["work.1"]'
FROM generate_series(0, 99) AS n;
INSERT INTO publishers SELECT 'boot-' || n, 100000, {{last}} FROM generate_series(1, 20) AS n;
INSERT INTO idempotency_keys
SELECT 'key-' || n, md5(n::text), pg_temp.id(n, pg_temp.at(n, {{jobs}}, {{last}})), {{last}}
FROM generate_series(10, {{jobs}}::bigint, 10) AS n;
"""


def fill(url: str, jobs: int) -> None:
    """Add so many jobs that have ended, and a few that have not, to a migrated database."""
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:

        def run(statement: str, **values: object) -> None:
            text = statement
            for name, value in values.items():
                text = text.replace("{" + name + "}", str(value))
            connection.execute(text.encode())

        ((last,),) = connection.execute(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 10000000"
        ).fetchall()
        known = {"jobs": jobs, "last": last, "step": _STEP_US}
        run(_FUNCTIONS, **known)
        for first in range(1, jobs + LIVE + 1, _CHUNK):
            last_n = min(first + _CHUNK - 1, jobs + LIVE)
            run(_MADE, first=first, last_n=last_n, types=TYPES, queues=QUEUES, workers=WORKERS,
                **known)  # fmt: skip
            run(_JOBS)
            for step in _steps():
                run(_HISTORY, **step)
            run(_LOGS)
            run("DROP TABLE made")
        run(_BESIDE, **known)
        run("VACUUM (ANALYZE)")
