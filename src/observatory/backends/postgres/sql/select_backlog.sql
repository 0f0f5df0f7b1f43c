SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS waiting),
       (SELECT min(created_at) FROM outbox)
