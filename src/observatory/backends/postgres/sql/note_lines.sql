INSERT INTO job_logs (job, attempt, at, level, message, fields)
SELECT jobs.id, (g ->> 1)::integer, (g ->> 2)::bigint, g ->> 3, g ->> 4, g ->> 5
FROM json_array_elements($1::json) WITH ORDINALITY AS given (g, n)
JOIN jobs ON jobs.id = (g ->> 0)::uuid AND jobs.attempt = (g ->> 1)::integer AND jobs.worker = $2
ORDER BY n
