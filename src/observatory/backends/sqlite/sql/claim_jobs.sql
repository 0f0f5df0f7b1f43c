UPDATE jobs
SET state = 'running', attempt = ?2, version = ?3, worker = ?4, started_at = ?5, progress = NULL
WHERE seq = ?1
