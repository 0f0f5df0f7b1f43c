-- Workers that were not seen since the first instant are stale; those not since the second, forgotten.
SELECT count(*) FILTER (WHERE state = 'active' AND seen_at >= ?1),
       count(*) FILTER (WHERE state = 'draining' AND seen_at >= ?1),
       count(*) FILTER (
           WHERE state = 'lost' OR state IN ('active', 'draining') AND seen_at < ?1
       ),
       coalesce(sum(running) FILTER (
           WHERE state IN ('active', 'draining') AND seen_at >= ?1
       ), 0),
       coalesce(sum(concurrency - running) FILTER (
           WHERE state = 'active' AND seen_at >= ?1
       ), 0)
FROM workers
WHERE seen_at > ?2
