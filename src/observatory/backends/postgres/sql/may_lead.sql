-- One row where lead.sql would have the worker lead.
SELECT 1 WHERE NOT EXISTS (
    SELECT FROM leader AS l
    WHERE l.worker <> $1 AND l.until >= $2
      AND l.worker IN (SELECT id FROM workers WHERE state = 'active')
)
