-- Of some transitions, the jobs of those that another publisher still has in the outbox, and since
-- when. A commit and its transitions have one time; that another commit has the same is a false alarm
-- that costs a delay.
SELECT given.job::text, max(outbox.created_at)
FROM json_to_recordset($1::json) AS given (job uuid, version integer)
JOIN history ON history.job = given.job AND history.version = given.version
JOIN outbox ON outbox.created_at = (history.body::json ->> 'at')::bigint AND outbox.publisher <> $2
GROUP BY given.job
