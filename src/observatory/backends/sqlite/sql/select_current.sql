-- The rows that a change is decided on, for the ids of one JSON array.
SELECT seq, id, type, queue, priority, state, attempt, failures, crashes, version, max_attempts,
       timeout_s, queued_at, started_at, worker, cancel_requested_at, cancel_reason,
       correlation_id, contract_version, traceparent, tracestate, scheduled_at, ready_at
FROM jobs
WHERE id IN (SELECT value FROM json_each(?))
