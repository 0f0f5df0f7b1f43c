/** Workers by what they do. */
import type { Worker } from "./contracts";

export type Standing = "busy" | "full" | "idle" | "draining" | "stale" | "stopped";

export function standing(worker: Worker): Standing {
  if (worker.state !== "active") return worker.state;
  if (worker.running === 0) return "idle";
  return worker.running >= worker.concurrency ? "full" : "busy";
}

const ORDER: readonly Standing[] = ["stale", "full", "busy", "idle", "draining", "stopped"];

/** Those to look at first, the newest first among equals. */
export function inOrder(staff: readonly Worker[]): Worker[] {
  const rank = (one: Worker) => ORDER.indexOf(standing(one)) + (one.rescued ? ORDER.length : 0);
  return [...staff].sort((a, b) => rank(a) - rank(b) || b.startedAt.localeCompare(a.startedAt));
}
