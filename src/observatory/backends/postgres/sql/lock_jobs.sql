-- The rows that a change is decided on, locked in the order of their ids. Followed by
-- select_current.sql or select_claimable.sql.
WITH wanted AS MATERIALIZED (
    SELECT id::text, type, queue, priority, state, attempt, failures, crashes, version,
           max_attempts, timeout_s, queued_at, started_at, worker, cancel_requested_at,
           cancel_reason, correlation_id, contract_version, traceparent, tracestate, scheduled_at,
           ready_at
    FROM jobs
    WHERE id = ANY (string_to_array($1, ',')::uuid[])
    ORDER BY jobs.id
    FOR NO KEY UPDATE
)
