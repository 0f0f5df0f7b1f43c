/** Workers that are missed: which of them the reader is warned of, and for how long. */
import type { Worker } from "./contracts";

/** What a dead worker ran is in other hands by then, and the worker is history. */
export const RESCUED_TOLD_MS = 180_000;
const TOLD_AT_MOST = 3;

/** A sentence for each worker that is missed, those with work still in their hands first. */
export function missing(staff: readonly Worker[], nowMs: number): string[] {
  const since = (one: Worker) => Date.parse(one.lastSeenAt);
  const missed = staff
    .filter((one) => one.state === "stale")
    .filter((one) => !one.rescued || nowMs - since(one) < RESCUED_TOLD_MS)
    .sort((a, b) => Number(a.rescued ?? false) - Number(b.rescued ?? false) || since(b) - since(a));
  const told = missed.slice(0, TOLD_AT_MOST).map((one) => {
    const name = `Worker ${one.host}:${one.pid}`;
    return one.rescued
      ? `${name} has died; what it ran was taken from it.`
      : `${name} has not been heard of lately.`;
  });
  const more = missed.length - told.length;
  return more > 0 ? [...told, `And ${more} more ${more === 1 ? "worker" : "workers"}.`] : told;
}
