-- Locked, since the move is decided from the state found here.
SELECT id::text FROM jobs
WHERE state IN ('scheduled', 'retrying') AND scheduled_at <= $1
ORDER BY scheduled_at
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED
