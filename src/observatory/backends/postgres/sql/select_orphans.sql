-- Runs whose worker is gone: declared dead, or never on record. What began anew since is spared.
SELECT jobs.id::text
FROM jobs, (
    SELECT id, attempt FROM jobs
    WHERE state = 'running' AND worker <> $2
      AND worker NOT IN (SELECT id FROM workers WHERE state IN ('active', 'draining'))
    LIMIT $1
) AS orphan
WHERE jobs.id = orphan.id AND jobs.attempt = orphan.attempt AND jobs.state = 'running'
ORDER BY jobs.id
FOR NO KEY UPDATE OF jobs
