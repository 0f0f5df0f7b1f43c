-- Few jobs run at once and a worker has run very many, so not by the index on the worker.
SELECT id::text, attempt FROM jobs WHERE state = 'running' AND worker || '' = $1
