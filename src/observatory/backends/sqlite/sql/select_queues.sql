-- A loose index scan: one seek a queue, however many jobs are of it.
WITH RECURSIVE known (queue) AS (
    SELECT min(queue) FROM jobs INDEXED BY jobs_by_queue
    UNION ALL
    SELECT (
        SELECT min(queue) FROM jobs INDEXED BY jobs_by_queue WHERE jobs.queue > known.queue
    )
    FROM known WHERE queue IS NOT NULL
)
SELECT queue FROM known WHERE queue IS NOT NULL LIMIT ?
