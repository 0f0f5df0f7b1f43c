SELECT error_fingerprint, max(error_type), min(error_message), max(type),
       count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'retrying'),
       min(at), max(at), max(id::text COLLATE "C"),
       count(*) FILTER (WHERE state = 'failed' AND at >= $3),
       count(*) FILTER (WHERE state = 'failed' AND at >= $4 AND at < $3)
FROM (
    SELECT id, type, state, error_fingerprint, error_type, error_message,
           coalesce(finished_at, started_at) AS at
    FROM jobs
    -- What more there is to be asked for is put in here, so that an index fits it.
    WHERE state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL
    ORDER BY coalesce(finished_at, started_at) DESC
    LIMIT $1
) AS newest
GROUP BY error_fingerprint
ORDER BY count(*) DESC, error_fingerprint
LIMIT $2
