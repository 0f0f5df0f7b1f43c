-- A loose index scan: one seek a queue, however many jobs wait in it.
WITH RECURSIVE waiting (queue) AS (
    (SELECT queue FROM jobs WHERE state = 'queued' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (
        SELECT j.queue FROM jobs AS j
        WHERE j.state = 'queued' AND j.queue > waiting.queue ORDER BY j.queue LIMIT 1
    )
    FROM waiting WHERE waiting.queue IS NOT NULL
)
SELECT queue, (
    SELECT min(queued_at) FROM jobs WHERE state = 'queued' AND jobs.queue = waiting.queue
)
FROM waiting WHERE queue IS NOT NULL
