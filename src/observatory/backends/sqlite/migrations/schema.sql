-- What a new file starts with: the schema 0005, as all the migrations together make it. Written
-- by scripts/write_sqlite_schema.py; what each column is for stands in the migrations.

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 1,
    max_attempts INTEGER NOT NULL,
    timeout_s REAL,
    created_at INTEGER NOT NULL,
    scheduled_at INTEGER,
    queued_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    worker TEXT,
    cancel_requested_at INTEGER,
    correlation_id TEXT NOT NULL,
    parent_id TEXT,
    contract_version INTEGER NOT NULL,
    idempotency_key TEXT,
    traceparent TEXT,
    tracestate TEXT,
    progress TEXT,
    error_type TEXT,
    error_message TEXT,
    error_fingerprint TEXT
, cancel_reason TEXT, ready_at INTEGER) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_type ON jobs (type, id);
CREATE INDEX jobs_by_queue ON jobs (queue, id);
CREATE INDEX jobs_by_correlation ON jobs (correlation_id, id);
CREATE INDEX jobs_by_parent ON jobs (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_due ON jobs (scheduled_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX jobs_waiting ON jobs (queue, queued_at) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_failing ON jobs (error_fingerprint, id) WHERE state IN ('failed', 'retrying');
CREATE TABLE payloads (job INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE results (job INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE history (
    job INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE job_logs (
    position INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    fields TEXT NOT NULL
) STRICT;
CREATE INDEX job_logs_by_job ON job_logs (job, position);
CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    running INTEGER NOT NULL,
    queues TEXT NOT NULL,
    job_types TEXT NOT NULL
) STRICT;
CREATE TABLE leader (one INTEGER PRIMARY KEY CHECK (one = 1), worker TEXT NOT NULL, until INTEGER NOT NULL) STRICT;
CREATE TABLE job_types (name TEXT PRIMARY KEY, body TEXT NOT NULL, registered_at INTEGER NOT NULL) STRICT;
CREATE TABLE publishers (id TEXT PRIMARY KEY, last_number INTEGER NOT NULL, seen_at INTEGER NOT NULL) STRICT;
CREATE TABLE outbox (
    publisher TEXT NOT NULL,
    number INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (publisher, number)
) STRICT;
CREATE TABLE work_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    body BLOB NOT NULL,
    parked TEXT
) STRICT;
CREATE INDEX work_messages_by_queue ON work_messages (queue, priority, id);
CREATE TABLE event_log (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    publisher TEXT,
    number INTEGER,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE event_log_epoch (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL) STRICT;
CREATE TABLE aggregate_states (
    type TEXT NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (type, queue, state)
) STRICT, WITHOUT ROWID;
CREATE TABLE aggregate_series (
    resolution_s INTEGER NOT NULL,
    bucket_s INTEGER NOT NULL,
    type TEXT NOT NULL,
    queue TEXT NOT NULL,
    measure TEXT NOT NULL,
    bin INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (resolution_s, bucket_s, type, queue, measure, bin)
) STRICT, WITHOUT ROWID;
CREATE TABLE aggregate_position (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, "offset" INTEGER NOT NULL) STRICT;
CREATE TABLE aggregate_numbers (publisher TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE VIEW attempts AS
SELECT jobs.id AS job_id,
       claimed.body ->> 'attempt' AS attempt,
       claimed.body ->> 'worker' AS worker,
       claimed.body ->> 'at' AS started_at,
       ended.body ->> 'at' AS finished_at,
       coalesce(ended.body ->> 'outcome', iif(ended.job IS NULL, NULL, 'cancelled')) AS outcome
FROM history AS claimed
JOIN jobs ON jobs.seq = claimed.job
LEFT JOIN history AS ended ON ended.job = claimed.job AND ended.version = claimed.version + 1
WHERE claimed.body ->> 'move' = 'claim';
CREATE TABLE paused_queues (queue TEXT PRIMARY KEY, paused_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_failed ON jobs (coalesce(finished_at, started_at)) WHERE state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL;
CREATE INDEX jobs_failed_by_type ON jobs (type, coalesce(finished_at, started_at)) WHERE state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL;
CREATE INDEX jobs_failed_by_queue ON jobs (queue, coalesce(finished_at, started_at)) WHERE state IN ('failed', 'retrying') AND error_fingerprint IS NOT NULL;

INSERT INTO alembic_version VALUES ('0005');
INSERT INTO event_log_epoch VALUES (1, lower(hex(randomblob(16))));
