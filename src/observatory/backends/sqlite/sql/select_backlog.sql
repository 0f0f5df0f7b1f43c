-- Rows are numbered in the order in which they came, so the first is the oldest.
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?)),
       (SELECT created_at FROM outbox ORDER BY rowid LIMIT 1)
