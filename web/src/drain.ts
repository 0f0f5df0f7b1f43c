/** When a queue will be empty. */
import type { Queue } from "./contracts";

/** Seconds until nothing waits, as things go; null where it does not get less. */
export function secondsToDrain(queue: Queue): number | null {
  if (queue.states.queued === 0) return 0;
  const faster = queue.finishedPerSecond - queue.createdPerSecond;
  return queue.paused || faster <= 0 ? null : queue.states.queued / faster;
}
