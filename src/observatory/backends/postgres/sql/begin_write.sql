-- Settings that hold for this transaction only, as a connection pooler wants it. A stalled process
-- must not keep others from rows. Every write knows its rows by key: while the planner has no
-- statistics yet, or old ones, it would rather read whole tables. The id tells later whether the
-- transaction was committed.
BEGIN;
SELECT pg_current_xact_id()::text, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       set_config('lock_timeout', '2s', true),
       set_config('idle_in_transaction_session_timeout', '5s', true),
       set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true),
       set_config('jit', 'off', true),
       -- A stricter choice of the operator stands; off would break what an answer promises.
       CASE current_setting('synchronous_commit') WHEN 'off' THEN
           set_config('synchronous_commit', 'on', true)
       END
