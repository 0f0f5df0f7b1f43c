-- A loose index scan: one seek a queue, however many jobs wait in it. Left to itself the planner takes
-- another index and reads every job that waits, once a queue.
WITH RECURSIVE waiting (queue) AS (
    SELECT min(queue) FROM jobs INDEXED BY jobs_waiting WHERE state = 'queued'
    UNION ALL
    SELECT (
        SELECT min(queue) FROM jobs INDEXED BY jobs_waiting
        WHERE state = 'queued' AND jobs.queue > waiting.queue
    )
    FROM waiting WHERE queue IS NOT NULL
)
SELECT queue, (
    SELECT min(queued_at) FROM jobs INDEXED BY jobs_waiting
    WHERE state = 'queued' AND jobs.queue = waiting.queue
)
FROM waiting WHERE queue IS NOT NULL
