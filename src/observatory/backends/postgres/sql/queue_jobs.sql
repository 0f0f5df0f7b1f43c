-- Followed by record_changes.sql; the rows are locked.
WITH given AS MATERIALIZED (
    SELECT *, NULL::text AS document FROM json_to_recordset($1::json) AS g (
        id uuid, version integer, queued_at bigint, failures integer, crashes integer, body text
    )
), changed AS (
    UPDATE jobs
    SET state = 'queued', version = g.version, queued_at = g.queued_at, failures = g.failures,
        crashes = g.crashes,
        -- What was terminal is measured from now on; what waits, as before.
        ready_at = CASE WHEN jobs.finished_at IS NULL THEN jobs.ready_at ELSE g.queued_at END,
        finished_at = NULL, cancel_requested_at = NULL,
        cancel_reason = NULL
    FROM given AS g
    WHERE jobs.id = g.id
)
