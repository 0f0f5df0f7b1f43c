SELECT error_fingerprint, max(error_type), min(error_message), max(type),
       count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'retrying'),
       min(coalesce(finished_at, started_at)), max(coalesce(finished_at, started_at)),
       max(id::text COLLATE "C")
FROM jobs
WHERE state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL
  AND ($1::text IS NULL OR type = $1)
  AND ($2::text IS NULL OR queue = $2)
  AND ($3::bigint IS NULL OR coalesce(finished_at, started_at) >= $3)
GROUP BY error_fingerprint
ORDER BY count(*) DESC, error_fingerprint
LIMIT $4
