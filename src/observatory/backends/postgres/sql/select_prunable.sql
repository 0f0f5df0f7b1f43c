SELECT id::text FROM jobs
WHERE finished_at < $1
ORDER BY finished_at
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED
