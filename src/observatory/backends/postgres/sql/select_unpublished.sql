SELECT publisher, number, body FROM outbox
WHERE publisher IN (SELECT publisher FROM outbox WHERE created_at <= $1)
ORDER BY position
LIMIT $2
