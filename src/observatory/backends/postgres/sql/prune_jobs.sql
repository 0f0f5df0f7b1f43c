-- Followed by number_commit.sql; the rows are locked.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::json) AS g (id uuid, body text)
), changed AS (
    DELETE FROM jobs USING given AS g WHERE jobs.id = g.id
), forgotten AS (
    DELETE FROM history USING given AS g WHERE history.job = g.id
), silenced AS (
    DELETE FROM job_logs USING given AS g WHERE job_logs.job = g.id
)
