-- Followed by record_changes.sql; the rows are locked.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::json) AS g (
        id uuid, state text, version integer, failures integer, crashes integer, queued_at bigint,
        scheduled_at bigint, finished_at bigint, error_type text, error_message text,
        error_fingerprint text, cancel_reason text, body text, document text
    )
), changed AS (
    UPDATE jobs
    SET state = g.state, version = g.version, failures = g.failures, crashes = g.crashes,
        queued_at = g.queued_at, scheduled_at = g.scheduled_at, finished_at = g.finished_at,
        error_type = g.error_type, error_message = g.error_message,
        error_fingerprint = g.error_fingerprint,
        cancel_requested_at = CASE WHEN g.state <> 'queued' THEN jobs.cancel_requested_at END,
        cancel_reason = CASE
            WHEN g.state <> 'queued' THEN coalesce(g.cancel_reason, jobs.cancel_reason)
        END
    FROM given AS g
    WHERE jobs.id = g.id
)
