/** Whether so many jobs fail that nobody may say that all is well. */
import type { Stats, StatsGroup } from "./contracts";
import { count, duration, visible } from "./format";

/** Limits of the alerts about it, as in `core/alert.py`; those fire once it has lasted. */
export const FEW_FAILURES = 10;
export const FAILURE_LIMIT = 0.06;
/** Go well while all else fails, and would hide it. */
const HEARTBEAT_JOB = "observatory.heartbeat";

type Group = Pick<StatsGroup, "failedPerSecond" | "finishedPerSecond">;

/** In a sentence, of all jobs or else of the type of which most fail; null where few do, or few of many. */
export function failuresTold({ overall, types, windowSeconds }: Stats): string | null {
  const heartbeats = types[HEARTBEAT_JOB];
  const told = (whose: string, group: Group, without?: Group) => {
    const jobs = (of: keyof Group) => Math.round((group[of] - (without?.[of] ?? 0)) * windowSeconds);
    const failed = jobs("failedPerSecond");
    const ended = jobs("finishedPerSecond");
    if (failed < FEW_FAILURES || failed <= FAILURE_LIMIT * ended) return null;
    const share = Math.round((100 * failed) / ended);
    const last = duration(windowSeconds);
    return { failed, words: `${share} % of the ${whose} that ended within the last ${last} failed: ${count(failed)} of ${count(ended)}.` };
  };
  const ofAll = told("jobs", overall, heartbeats);
  if (ofAll) return ofAll.words;
  const ofTypes = Object.entries(types).map(([type, group]) => told(`${visible(type)} jobs`, group));
  const most = ofTypes.reduce((one, other) => ((other?.failed ?? 0) > (one?.failed ?? 0) ? other : one), null);
  return most?.words ?? null;
}
