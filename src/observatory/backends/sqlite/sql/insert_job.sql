INSERT INTO jobs (
    seq, id, type, queue, priority, state, max_attempts, timeout_s, created_at, scheduled_at,
    queued_at, correlation_id, parent_id, contract_version, idempotency_key, traceparent, tracestate,
    ready_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
