-- A loose index scan over the queues, and of each that is not known the head of what waits there.
WITH RECURSIVE waiting (queue) AS (
    SELECT min(queue) FROM jobs WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(queue) FROM jobs WHERE state = 'queued' AND jobs.queue > waiting.queue)
    FROM waiting WHERE queue IS NOT NULL
)
SELECT queue FROM waiting
WHERE queue NOT IN (SELECT value FROM json_each(?1)) AND EXISTS (
    SELECT 1 FROM (
        SELECT type FROM jobs WHERE state = 'queued' AND jobs.queue = waiting.queue
        ORDER BY queued_at LIMIT 1000
    )
    WHERE type IN (SELECT value FROM json_each(?2))
)
