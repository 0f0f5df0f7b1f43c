-- The commits of whoever has been slow since $1; and what waits for its turn, up to the first commit
-- of somebody who is not.
WITH slow AS MATERIALIZED (
    SELECT DISTINCT publisher FROM outbox WHERE created_at <= $1 AND publisher NOT LIKE '%.relayed'
)
SELECT publisher, number, body FROM outbox
WHERE publisher IN (SELECT publisher FROM slow)
   OR publisher LIKE '%.relayed' AND position < (
       SELECT coalesce(min(position), 9223372036854775807) FROM outbox
       WHERE publisher NOT LIKE '%.relayed' AND publisher NOT IN (SELECT publisher FROM slow)
   )
ORDER BY position
LIMIT $2
