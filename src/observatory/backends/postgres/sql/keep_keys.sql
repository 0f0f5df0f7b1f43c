-- Who has each key: whoever came first, also where both come at once. Without xmax it is new.
INSERT INTO idempotency_keys AS k (key, fingerprint, job_id, created_at)
SELECT key, fingerprint, job_id, $2
FROM json_to_recordset($1::json) AS g (key text, fingerprint text, job_id uuid)
ORDER BY key COLLATE "C"
ON CONFLICT (key) DO UPDATE SET key = excluded.key
RETURNING k.key, k.job_id::text, k.fingerprint, k.xmax = 0
