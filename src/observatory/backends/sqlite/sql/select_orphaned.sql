-- Runs whose worker is gone: declared dead, or never on record.
SELECT id FROM jobs
WHERE state = 'running' AND worker <> ?2
  AND worker NOT IN (SELECT id FROM workers WHERE state IN ('active', 'draining'))
LIMIT ?1
