-- Followed by record_changes.sql.
WITH given AS MATERIALIZED (
    SELECT *, 1 AS version FROM json_to_recordset($1::json) AS g (
        id uuid, type text, queue text, priority text, state text, max_attempts integer,
        contract_version integer, skewed boolean, timeout_s double precision, created_at bigint,
        scheduled_at bigint, queued_at bigint, ready_at bigint, correlation_id text, parent_id text,
        idempotency_key text, traceparent text, tracestate text, body text, document text
    )
), changed AS (
    INSERT INTO jobs (
        id, type, queue, priority, state, max_attempts, contract_version, skewed, timeout_s,
        created_at, scheduled_at, queued_at, ready_at, correlation_id, parent_id, idempotency_key,
        traceparent, tracestate
    )
    SELECT id, type, queue, priority, state, max_attempts, contract_version, skewed, timeout_s,
           created_at, scheduled_at, queued_at, ready_at, correlation_id, parent_id, idempotency_key,
           traceparent, tracestate
    FROM given
)
