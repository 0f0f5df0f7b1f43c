UPDATE jobs SET progress = given.progress
FROM (
    SELECT DISTINCT ON (1, 2) (g ->> 0)::uuid AS id, (g ->> 1)::integer AS attempt,
           g ->> 2 AS progress
    FROM json_array_elements($1::json) WITH ORDINALITY AS given (g, n)
    ORDER BY 1, 2, n DESC
) AS given
WHERE jobs.id = given.id AND jobs.attempt = given.attempt AND jobs.worker = $2
  AND jobs.state = 'running'
