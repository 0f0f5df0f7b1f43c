SELECT id::text, version, queued_at, type, queue, priority, attempt, contract_version, crashes
FROM jobs
WHERE state = 'queued' AND id > $1::uuid AND queued_at < $2
  -- What the log has not been told of yet is still to be sent.
  AND NOT EXISTS (SELECT FROM outbox WHERE outbox.created_at = jobs.queued_at)
ORDER BY id
LIMIT $3
