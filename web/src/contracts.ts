/** The shapes of the HTTP interface and of the events, as the page reads them. */

export type State =
  | "scheduled"
  | "queued"
  | "running"
  | "retrying"
  | "completed"
  | "failed"
  | "cancelled";

export type Priority = "high" | "normal" | "low";

/** RFC 3339, UTC. */
export type Timestamp = string;

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export interface JobError {
  type: string;
  message: string;
  traceback?: string | null;
}

export interface Progress {
  fraction: number | null;
  message: string | null;
  at: Timestamp;
}

export interface JobSummary {
  id: string;
  type: string;
  queue: string;
  priority: Priority;
  state: State;
  attempt: number;
  maxAttempts: number;
  createdAt: Timestamp;
  scheduledAt: Timestamp | null;
  queuedAt: Timestamp | null;
  startedAt: Timestamp | null;
  finishedAt: Timestamp | null;
  error: JobError | null;
  worker: string | null;
  correlationId: string | null;
  parentId: string | null;
  contractVersion: number;
  progress: Progress | null;
  version: number;
  failures: number;
  crashes: number;
  timeoutSeconds: number | null;
  cancelRequestedAt: Timestamp | null;
  cancelReason: string | null;
  idempotencyKey: string | null;
}

export interface Job extends JobSummary {
  payload: Json;
  result: Json;
  traceId?: string | null;
}

export interface Page<Item> {
  items: Item[];
  next: string | null;
  asOf: Timestamp;
}

export type AttemptOutcome =
  | "completed"
  | "failed"
  | "timeout"
  | "lost"
  | "released"
  | "cancelled";

export interface Attempt {
  attempt: number;
  /** null while it runs. */
  outcome: AttemptOutcome | null;
  worker: string | null;
  queuedAt: Timestamp | null;
  startedAt: Timestamp;
  finishedAt: Timestamp | null;
  waitSeconds: number | null;
  runSeconds: number | null;
  error: JobError | null;
  retryAt: Timestamp | null;
}

export interface LogLine {
  attempt: number;
  at: Timestamp;
  level: "debug" | "info" | "warning" | "error";
  message: string;
  fields: { [name: string]: Json };
  traceId?: string | null;
}

export type StateCounts = Record<State, number>;

export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
}

export interface StatsGroup {
  states: StateCounts;
  createdPerSecond: number;
  finishedPerSecond: number;
  failedPerSecond: number;
  waitSeconds: Percentiles | null;
  runSeconds: Percentiles | null;
}

export interface Stats {
  asOf: Timestamp;
  logOffset: number | string | null;
  lagSeconds: number | null;
  complete: boolean;
  rebuilding: boolean;
  windowSeconds: number;
  states: StateCounts;
  types: Record<string, StatsGroup>;
  queues: Record<string, StatsGroup>;
  overall: StatsGroup;
}

export interface SeriesStep {
  at: Timestamp;
  created: number;
  started: number;
  completed: number;
  failed: number;
  retried: number;
  cancelled: number;
  waitSeconds: Percentiles | null;
  runSeconds: Percentiles | null;
}

export interface Series {
  asOf: Timestamp;
  logOffset: number | string | null;
  stepSeconds: number;
  items: SeriesStep[];
}

export interface FailureGroup {
  fingerprint: string;
  errorType: string;
  message: string;
  /** The job type. */
  type: string;
  count: number;
  states: { failed: number; retrying: number };
  /** The longest ago that a job of the group last failed; one that fails again counts anew. */
  firstSeenAt: Timestamp;
  lastSeenAt: Timestamp;
  sampleJobId: string;
  recent: { lastHour: number; hourBefore: number };
}

export interface Queue {
  name: string;
  paused: boolean;
  /** Since when; null while it is not. */
  pausedAt: Timestamp | null;
  states: StateCounts;
  oldestQueuedAt: Timestamp | null;
  oldestAgeSeconds: number | null;
  createdPerSecond: number;
  finishedPerSecond: number;
  waitSeconds: Percentiles | null;
  runSeconds: Percentiles | null;
}

export interface Worker {
  id: string;
  host: string;
  pid: number;
  startedAt: Timestamp;
  lastSeenAt: Timestamp;
  state: "active" | "draining" | "stale" | "stopped";
  /** Of a stale one: it was declared dead, and what it ran was taken from it. */
  rescued?: boolean;
  concurrency: number;
  running: number;
  queues: string[];
  jobTypes: string[];
}

/** An alert that fires. */
export interface Alert {
  name: string;
  severity: string;
  since: Timestamp;
  summary: string;
  description: string;
  runbook: string | null;
  labels: Record<string, string>;
}

export interface Alerts extends Page<Alert> {
  source: "alertmanager" | "embedded" | "none";
  sourceAsOf: Timestamp | null;
  ageSeconds: number | null;
  /** How many more fire and are silenced. */
  silenced?: number;
  detail: string | null;
}

/** Common to every job.* event; each type adds its own. Open to fields this page does not know. */
export interface JobEventData {
  jobId: string;
  jobType: string;
  queue: string;
  /** This, previousState and version may be missing from job.progressed, which is no transition. */
  priority?: Priority;
  state: State | null;
  previousState?: State | null;
  attempt: number;
  version?: number;
  maxAttempts?: number;
  scheduledAt?: Timestamp | null;
  contractVersion?: number;
  parentId?: string | null;
  worker?: string | null;
  waitSeconds?: number;
  runSeconds?: number;
  fraction?: number | null;
  message?: string | null;
  reason?: string | null;
  error?: JobError | null;
}

export interface CloudEvent<Data = { [name: string]: unknown }> {
  specversion: "1.0";
  id: string;
  source: string;
  type: string;
  subject?: string;
  time: Timestamp;
  datacontenttype?: string;
  dataschema?: string;
  sequence?: string;
  correlationid?: string;
  causationid?: string;
  idempotencykey?: string;
  traceparent?: string;
  tracestate?: string;
  data: Data;
}

/** The answer to POST /jobs/{id}/retry. */
export interface Accepted {
  jobId: string;
  eventId: string;
}

/** The answer to POST /jobs/{id}/cancel; eventId is null while the job still runs. */
export interface CancelAccepted {
  jobId: string;
  state: State;
  eventId: string | null;
  cancelRequestedAt: Timestamp | null;
}

export type BulkAction = "cancel" | "retry";

/** The answer to POST /jobs/actions. */
export interface BulkOutcome {
  action: BulkAction;
  dryRun: boolean;
  matched: number;
  changed: number;
  skipped: number;
  complete: boolean;
  next: string | null;
}

/** The answer to POST /queues/{queue}/pause and /resume. */
export interface QueueState {
  queue: string;
  paused: boolean;
}

export interface LoggedEvent {
  position: string;
  event: CloudEvent;
}

export interface ContractEntry {
  /** The path of a schema, or the name of a job type. */
  name: string;
  kind: "schema" | "jobType";
  version: string;
  title: string;
  href: string;
}

export interface Health {
  status: "ok" | "failing";
  checks: Record<string, { ok: boolean; detail: string | null }>;
}

export interface SystemHealth {
  asOf: Timestamp;
  version: string;
  backends: { name: "store" | "spine" | "aggregates"; ok: boolean; detail: string | null }[];
  log: { offset: number; lagSeconds: number; complete: boolean; rebuilding: boolean };
  outbox: { commits: number; oldestAt: Timestamp | null } | null;
  deadLetters: number | null;
  heartbeatIntervalSeconds: number;
  heartbeat: {
    jobId: string;
    state: State;
    acceptedAt: Timestamp;
    lastCompletedAt: Timestamp | null;
  } | null;
}

/** application/problem+json, RFC 9457. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  instance?: string;
  requestId?: string | null;
  errors?: { pointer: string; detail: string }[];
}
