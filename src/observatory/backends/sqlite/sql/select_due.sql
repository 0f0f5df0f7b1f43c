SELECT id FROM jobs
WHERE state IN ('scheduled', 'retrying') AND scheduled_at <= ?1
ORDER BY scheduled_at
LIMIT ?2
