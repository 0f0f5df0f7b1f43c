UPDATE jobs
SET state = ?2, version = ?3, failures = ?4, crashes = ?5, queued_at = ?6, scheduled_at = ?7,
    finished_at = ?8, error_type = ?9, error_message = ?10, error_fingerprint = ?11,
    cancel_requested_at = iif(?2 = 'queued', NULL, cancel_requested_at),
    cancel_reason = iif(?2 = 'queued', NULL, coalesce(?12, cancel_reason))
WHERE seq = ?1
