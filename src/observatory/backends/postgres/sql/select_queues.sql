-- A loose index scan: one seek a queue, however many jobs are of it.
WITH RECURSIVE known (queue) AS (
    (SELECT queue FROM jobs ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs AS j WHERE j.queue > known.queue ORDER BY j.queue LIMIT 1)
    FROM known WHERE known.queue IS NOT NULL
)
SELECT queue FROM known WHERE queue IS NOT NULL LIMIT $1
