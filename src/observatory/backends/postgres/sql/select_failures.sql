-- A loose index scan finds the groups; of each the newest are counted, from the index alone.
WITH RECURSIVE kinds (fingerprint) AS (
    (
        SELECT error_fingerprint FROM jobs
        WHERE error_fingerprint IS NOT NULL ORDER BY error_fingerprint LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT j.error_fingerprint FROM jobs AS j
        WHERE j.error_fingerprint > kinds.fingerprint ORDER BY j.error_fingerprint LIMIT 1
    )
    FROM kinds WHERE kinds.fingerprint IS NOT NULL
), counted AS (
    SELECT known.fingerprint, found.*
    FROM (SELECT fingerprint FROM kinds WHERE fingerprint IS NOT NULL LIMIT 1000) AS known
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE state = 'failed') AS failed,
               count(*) FILTER (WHERE state = 'retrying') AS retrying,
               min(at) AS first_at, max(at) AS last_at, max(id::text COLLATE "C") AS sample
        FROM (
            SELECT id, state, type, queue, coalesce(finished_at, started_at) AS at FROM jobs
            WHERE error_fingerprint = known.fingerprint
            ORDER BY id DESC
            LIMIT $5
        ) AS newest
        WHERE state IN ('failed', 'retrying')
          AND ($1::text IS NULL OR type = $1)
          AND ($2::text IS NULL OR queue = $2)
          AND ($3::bigint IS NULL OR at >= $3)
    ) AS found
    WHERE failed + retrying > 0
    ORDER BY failed + retrying DESC, fingerprint
    LIMIT $4
)
SELECT fingerprint, error_type, error_message, type, failed, retrying, first_at, last_at, sample
FROM counted JOIN jobs ON jobs.id = counted.sample::uuid
ORDER BY failed + retrying DESC, fingerprint
