-- Times are microseconds since the Unix epoch, by the clock of this server. Documents are text, so
-- that they stay byte by byte what they were. A job's row is narrow and often rewritten; what is
-- written once stands in its history.
CREATE TABLE jobs (
    id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    priority text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1,
    max_attempts integer NOT NULL,
    contract_version integer NOT NULL,
    -- True where the time in the id is more than a minute off created_at; see reads.py.
    skewed boolean NOT NULL,
    timeout_s double precision,
    created_at bigint NOT NULL,
    scheduled_at bigint,
    queued_at bigint,
    started_at bigint,
    finished_at bigint,
    cancel_requested_at bigint,
    worker text COLLATE "C",
    correlation_id text COLLATE "C" NOT NULL,
    parent_id text COLLATE "C",
    idempotency_key text COLLATE "C",
    traceparent text,
    tracestate text,
    progress text,
    error_type text,
    error_message text,
    error_fingerprint text COLLATE "C",
    CONSTRAINT jobs_pkey PRIMARY KEY (id)
) WITH (
    -- Room on the page for the versions that claim and finish leave. They cannot be HOT, since the
    -- state is indexed; so every index here costs two more entries a job, and there are as few as
    -- the lists need.
    fillfactor = 75,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);

CREATE INDEX jobs_by_state ON jobs (state, id);

CREATE INDEX jobs_by_type ON jobs (type, state, id);

CREATE INDEX jobs_by_queue ON jobs (queue, state, id);

CREATE INDEX jobs_by_correlation ON jobs (correlation_id, id);

CREATE INDEX jobs_by_parent ON jobs (parent_id, id) WHERE parent_id IS NOT NULL;

CREATE INDEX jobs_by_worker ON jobs (worker, id) WHERE worker IS NOT NULL;

CREATE INDEX jobs_by_error ON jobs (error_fingerprint, id) WHERE error_fingerprint IS NOT NULL;

CREATE INDEX jobs_skewed ON jobs (id) WHERE skewed;

CREATE INDEX jobs_due ON jobs (scheduled_at) WHERE state IN ('scheduled', 'retrying');

CREATE INDEX jobs_waiting ON jobs (queue, queued_at) WHERE state = 'queued';

CREATE INDEX jobs_to_be_ended ON jobs (worker)
WHERE state = 'running' AND cancel_requested_at IS NOT NULL;

CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Every transition of every job: the timeline, the attempts, and what a rebuild reads. The document
-- is what the transition brought: the payload of version 1, the result where a job completed.
CREATE TABLE history (
    job uuid NOT NULL,
    version integer NOT NULL,
    body text NOT NULL,
    document text,
    CONSTRAINT history_pkey PRIMARY KEY (job, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE TABLE job_logs (
    position bigint GENERATED ALWAYS AS IDENTITY,
    job uuid NOT NULL,
    attempt integer NOT NULL,
    at bigint NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    fields text NOT NULL,
    CONSTRAINT job_logs_pkey PRIMARY KEY (job, position)
);

CREATE TABLE idempotency_keys (
    key text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL,
    job_id uuid NOT NULL,
    created_at bigint NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE workers (
    id text COLLATE "C" NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    state text NOT NULL,
    concurrency integer NOT NULL,
    running integer NOT NULL,
    queues text NOT NULL,
    job_types text NOT NULL,
    CONSTRAINT workers_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE leader (
    one integer NOT NULL CHECK (one = 1),
    worker text COLLATE "C" NOT NULL,
    until bigint NOT NULL,
    CONSTRAINT leader_pkey PRIMARY KEY (one)
) WITH (fillfactor = 50);

CREATE TABLE job_types (
    name text COLLATE "C" NOT NULL,
    body text NOT NULL,
    registered_at bigint NOT NULL,
    CONSTRAINT job_types_pkey PRIMARY KEY (name)
);

CREATE TABLE publishers (
    id text COLLATE "C" NOT NULL,
    last_number bigint NOT NULL,
    seen_at bigint NOT NULL,
    CONSTRAINT publishers_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE outbox (
    publisher text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    created_at bigint NOT NULL,
    body text NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (publisher, number)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 5000,
    toast.autovacuum_vacuum_cost_delay = 0
);

-- These rows live for milliseconds; compressing them would cost more than it saves.
ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;

-- For people who ask in SQL: one row for each run of each job.
CREATE VIEW attempts AS
SELECT claimed.job AS job_id,
       CAST(CAST(claimed.body AS json) ->> 'attempt' AS integer) AS attempt,
       CAST(claimed.body AS json) ->> 'worker' AS worker,
       CAST(CAST(claimed.body AS json) ->> 'at' AS bigint) AS started_at,
       CAST(CAST(ended.body AS json) ->> 'at' AS bigint) AS finished_at,
       CASE
           WHEN ended.job IS NULL THEN NULL
           ELSE coalesce(CAST(ended.body AS json) ->> 'outcome', 'cancelled')
       END AS outcome
FROM history AS claimed
LEFT JOIN history AS ended ON ended.job = claimed.job AND ended.version = claimed.version + 1
WHERE CAST(claimed.body AS json) ->> 'move' = 'claim';
