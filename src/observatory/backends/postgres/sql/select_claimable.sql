-- As select_current.sql, with the payload of what is queued: row by row, since as a join the
-- planner would read the whole history for a large batch. Nothing for a worker declared dead.
SELECT wanted.*, CASE WHEN state = 'queued' THEN (
           SELECT document FROM history WHERE job = wanted.id::uuid AND version = 1
       ) END,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM wanted
WHERE NOT EXISTS (SELECT FROM workers WHERE id = $2 AND state IN ('lost', 'stopped'))
