/** What an event changes in a job's row, and the times read from a row. */
import type { CloudEvent, JobEventData, JobSummary, Queue } from "./contracts";

/** The row after the event; the same object where the event changes nothing. */
export function afterEvent(row: JobSummary, event: CloudEvent): JobSummary {
  const data = event.data as unknown as JobEventData;
  if (data.jobId !== row.id) return row;
  if (event.type === "job.progressed") {
    if (row.state !== "running" || data.attempt !== row.attempt) return row;
    const { fraction = null, message = null } = data;
    return { ...row, progress: { fraction, message, at: event.time } };
  }
  // The state is told by the event beside it, of the same version.
  if (event.type === "job.attempt_failed" || !data.state) return row;
  if (data.version === undefined || data.version <= row.version) return row;
  const next: JobSummary = {
    ...row,
    state: data.state,
    attempt: data.attempt,
    version: data.version,
    queue: data.queue,
    priority: data.priority ?? row.priority,
  };
  switch (event.type) {
    case "job.queued":
      return { ...next, queuedAt: event.time, startedAt: null, finishedAt: null, progress: null };
    case "job.started":
      return {
        ...next,
        startedAt: event.time,
        finishedAt: null,
        worker: data.worker ?? null,
        progress: null,
      };
    case "job.completed":
      return { ...next, finishedAt: event.time, error: null };
    case "job.retrying":
      return {
        ...next,
        scheduledAt: data.scheduledAt ?? null,
        error: data.error ?? row.error,
        failures: data.reason === "lost" ? row.failures : row.failures + 1,
        crashes: data.reason === "lost" ? row.crashes + 1 : row.crashes,
      };
    case "job.failed":
      return { ...next, finishedAt: event.time, error: data.error ?? row.error };
    case "job.cancelled":
      return { ...next, finishedAt: event.time };
    default:
      return next;
  }
}

const seconds = (from: string | null, to: string | number | null): number | null => {
  if (from === null || to === null) return null;
  const end = typeof to === "number" ? to : Date.parse(to);
  return Math.max(0, (end - Date.parse(from)) / 1000);
};

export interface Spell {
  seconds: number;
  /** Still counting. */
  open: boolean;
}

/** How long it waited in its queue for the attempt the row is about; null where that is unknown. */
export function waited(row: JobSummary, nowMs: number): Spell | null {
  if (row.state === "queued") {
    const s = seconds(row.queuedAt, nowMs);
    return s === null ? null : { seconds: s, open: true };
  }
  if (row.state === "scheduled") return null;
  const s = seconds(row.queuedAt, row.startedAt);
  return s === null ? null : { seconds: s, open: false };
}

/** How long the attempt ran, or has been running. */
export function ran(row: JobSummary, nowMs: number): Spell | null {
  if (row.state === "running") {
    const s = seconds(row.startedAt, nowMs);
    return s === null ? null : { seconds: s, open: true };
  }
  if (row.state === "completed" || row.state === "failed" || row.state === "cancelled") {
    const s = seconds(row.startedAt, row.finishedAt);
    return s === null ? null : { seconds: s, open: false };
  }
  return null;
}

/** Attempt 2 of 3. After a retry, or where workers were lost, attempts may outnumber those that one
 * try is allowed; then the two are no fraction. */
export function attemptOf({ attempt, maxAttempts }: JobSummary): string {
  if (attempt <= maxAttempts) return `${attempt} of ${maxAttempts}`;
  return `${attempt} (limit: ${maxAttempts} failed ${maxAttempts === 1 ? "attempt" : "attempts"})`;
}

/** Why the number may be beyond the limit. */
export const ATTEMPTS_TOLD =
  "Failed attempts count since the last retry; one that was lost with its worker, or given back, did not fail";

/** The same in a narrow column. */
export function attemptInColumn({ attempt, maxAttempts }: JobSummary): string {
  return attempt > maxAttempts ? `${attempt}` : `${attempt}/${maxAttempts}`;
}

/** From so many workers lost on, jobs run one at a time; as in `core/lifecycle.py`. */
const SUSPECT_CRASHES = 2;

/** Why a queued job waits that the others overtake, if it is one. */
export function suspectTold({ state, crashes }: JobSummary): string | null {
  if (state !== "queued" || crashes < SUSPECT_CRASHES) return null;
  return `Its worker ended ${crashes} times while running it: such jobs run one at a time.`;
}

/** The paused queue that a job waits in, or is going to; null where it stands in nobody's way. */
export function pausedQueue({ state, queue }: JobSummary, queues: readonly Queue[]): Queue | null {
  if (state !== "queued" && state !== "scheduled" && state !== "retrying") return null;
  return queues.find((one) => one.name === queue && one.paused) ?? null;
}
