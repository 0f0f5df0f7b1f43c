-- One row where the worker leads from now on.
INSERT INTO leader AS l VALUES (1, $1, $2) ON CONFLICT (one) DO UPDATE
SET worker = excluded.worker, until = excluded.until
WHERE l.worker = excluded.worker OR l.until < $3
   OR l.worker NOT IN (SELECT id FROM workers WHERE state = 'active')
RETURNING worker
