UPDATE jobs
SET state = 'queued', version = ?2, queued_at = ?3, failures = ?4, crashes = ?5,
    -- What was terminal is measured from now on; what waits, as before.
    ready_at = iif(finished_at IS NULL, ready_at, ?3),
    finished_at = NULL, cancel_requested_at = NULL, cancel_reason = NULL
WHERE seq = ?1
