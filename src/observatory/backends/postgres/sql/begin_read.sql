BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
       set_config('statement_timeout', '2s', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '15s', true)
