INSERT INTO job_types (name, body, registered_at)
SELECT g ->> 0, g ->> 1, $2 FROM json_array_elements($1::json) AS given (g)
ON CONFLICT (name) DO UPDATE SET body = excluded.body, registered_at = excluded.registered_at
