SELECT id::text, version, queued_at, type, queue, priority, attempt, contract_version, crashes
FROM jobs
WHERE state = 'queued' AND id > $1::uuid AND queued_at < $2
ORDER BY id
LIMIT $3
