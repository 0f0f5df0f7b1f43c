-- The commits of whoever has been slow since $1; and what waits for its turn, if that has come.
SELECT publisher, number, body FROM outbox
WHERE publisher IN (SELECT publisher FROM outbox WHERE created_at <= $1)
   OR publisher LIKE '%.relayed' AND position < (
       SELECT coalesce(min(position), 9223372036854775807) FROM outbox
       WHERE publisher NOT LIKE '%.relayed'
   )
ORDER BY position
LIMIT $2
