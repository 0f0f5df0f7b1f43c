-- Followed by record_changes.sql; the rows are locked.
WITH given AS MATERIALIZED (
    SELECT *, NULL::text AS document FROM json_to_recordset($1::json) AS g (
        id uuid, version integer, attempt integer, started_at bigint, worker text, body text
    )
), changed AS (
    UPDATE jobs
    SET state = 'running', attempt = g.attempt, version = g.version, worker = g.worker,
        started_at = g.started_at, progress = NULL
    FROM given AS g
    WHERE jobs.id = g.id
)
