/** Whether so many jobs fail that nobody may say that all is well. */
import type { Stats } from "./contracts";
import { count, duration } from "./format";

/** Limits of the alerts about it, as in `core/alert.py`; those fire once it has lasted. */
export const FEW_FAILURES = 10;
export const FAILURE_LIMIT = 0.06;
/** Go well while all else fails, and would hide it. */
const HEARTBEAT_JOB = "observatory.heartbeat";

/** In a sentence; null where few fail, or few of many. */
export function failuresTold({ overall, types, windowSeconds }: Stats): string | null {
  const jobs = (of: "failedPerSecond" | "finishedPerSecond") =>
    Math.round((overall[of] - (types[HEARTBEAT_JOB]?.[of] ?? 0)) * windowSeconds);
  const failed = jobs("failedPerSecond");
  const ended = jobs("finishedPerSecond");
  if (failed < FEW_FAILURES || failed <= FAILURE_LIMIT * ended) return null;
  const share = Math.round((100 * failed) / ended);
  return `${share} % of the jobs that ended within the last ${duration(windowSeconds)} failed: ${count(failed)} of ${count(ended)}.`;
}
