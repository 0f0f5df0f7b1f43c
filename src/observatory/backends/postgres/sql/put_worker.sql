INSERT INTO workers VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE
SET host = excluded.host, pid = excluded.pid, started_at = excluded.started_at,
    seen_at = excluded.seen_at, state = excluded.state, concurrency = excluded.concurrency,
    running = excluded.running, queues = excluded.queues, job_types = excluded.job_types
