-- A loose index scan over the queues, and of each that is not known the head of what waits there.
WITH RECURSIVE waiting (queue) AS (
    (SELECT queue FROM jobs WHERE state = 'queued' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (
        SELECT j.queue FROM jobs AS j
        WHERE j.state = 'queued' AND j.queue > waiting.queue ORDER BY j.queue LIMIT 1
    )
    FROM waiting WHERE waiting.queue IS NOT NULL
)
SELECT queue FROM waiting
WHERE queue <> ALL ($1::text[]) AND EXISTS (
    SELECT FROM (
        SELECT type FROM jobs WHERE state = 'queued' AND jobs.queue = waiting.queue
        ORDER BY queued_at LIMIT 1000
    ) AS head
    WHERE type = ANY ($2::text[])
)
