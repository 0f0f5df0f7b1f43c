WITH beaten AS (
    UPDATE workers SET seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $4,
        running = $2, state = $3
    WHERE id = $1 AND state IN ('active', 'draining')
    RETURNING id
)
SELECT NULL, (SELECT count(*) FROM beaten)
UNION ALL
SELECT id::text, attempt FROM jobs
WHERE worker = $1 AND state = 'running' AND cancel_requested_at IS NOT NULL
