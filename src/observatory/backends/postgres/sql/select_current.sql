-- The clock is read after each lock, so that no transition is older than the one before it.
SELECT wanted.*, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM wanted
