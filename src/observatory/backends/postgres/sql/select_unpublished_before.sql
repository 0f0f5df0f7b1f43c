-- Of some transitions, the jobs of those that another publisher still has in the outbox, and since
-- when. A commit and its transitions have one time; that another commit has the same is a false alarm
-- that costs a delay. Each time is read out of its document once, not once a row of the outbox.
WITH given AS MATERIALIZED (
    SELECT history.job, (history.body::json ->> 'at')::bigint AS at
    FROM json_to_recordset($1::json) AS g (job uuid, version integer)
    JOIN history ON history.job = g.job AND history.version = g.version
)
SELECT given.job::text, max(outbox.created_at)
FROM given
JOIN outbox ON outbox.created_at = given.at AND outbox.publisher <> $2
GROUP BY given.job
