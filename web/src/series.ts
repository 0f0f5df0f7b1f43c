/** The last quarter of an hour in steps: read once, its tail again and again, counted on live. */
import type { CloudEvent, Series, SeriesStep } from "./contracts";

export const WINDOW_SECONDS = 900;
export const STEP_SECONDS = 5;
/** How much of the end is read again. */
export const TAIL_SECONDS = 60;

type Counted = "created" | "started" | "completed" | "failed" | "retried" | "cancelled";

const COUNTED: Record<string, Counted> = {
  "job.created": "created",
  "job.started": "started",
  "job.completed": "completed",
  "job.failed": "failed",
  "job.retrying": "retried",
  "job.cancelled": "cancelled",
};

export function emptyStep(atMs: number): SeriesStep {
  return {
    at: new Date(atMs).toISOString(),
    created: 0,
    started: 0,
    completed: 0,
    failed: 0,
    retried: 0,
    cancelled: 0,
    waitSeconds: null,
    runSeconds: null,
  };
}

/** `whole` with its end replaced by `tail`, or null where the two do not meet: read all again. */
export function withTail(whole: Series, tail: Series): Series | null {
  const ends = whole.items.at(-1);
  // The first step of the tail may be cut by the edge of its window.
  const fresh = tail.items.slice(1);
  const begins = fresh[0];
  if (!ends || !begins || whole.stepSeconds !== tail.stepSeconds) return null;
  const from = Date.parse(begins.at);
  if (from > Date.parse(ends.at) + whole.stepSeconds * 1000) return null;
  const kept = whole.items.filter((step) => Date.parse(step.at) < from);
  const items = [...kept, ...fresh].slice(-Math.ceil(WINDOW_SECONDS / whole.stepSeconds));
  return { ...tail, items };
}

/** What the page itself has seen go by, in steps. */
export class Tally {
  #steps = new Map<number, SeriesStep>();

  add(events: readonly CloudEvent[]): void {
    for (const event of events) {
      const name = COUNTED[event.type];
      if (!name) continue;
      const at = stepOf(Date.parse(event.time));
      if (Number.isNaN(at)) continue;
      let step = this.#steps.get(at);
      if (!step) this.#steps.set(at, (step = emptyStep(at)));
      step[name] += 1;
    }
    if (this.#steps.size > 60) {
      const oldest = [...this.#steps.keys()].sort((a, b) => a - b).slice(0, -30);
      for (const at of oldest) this.#steps.delete(at);
    }
  }

  at(ms: number): SeriesStep | undefined {
    return this.#steps.get(ms);
  }
}

function stepOf(ms: number): number {
  return Math.floor(ms / (STEP_SECONDS * 1000)) * STEP_SECONDS * 1000;
}

/**
 * The finished steps. `untilMs`: a line that is live may be drawn up to there, though the server
 * was last asked before; what the page saw itself fills those steps. It saw every event or, just
 * after connecting, fewer: so the larger count is the right one.
 */
export function finishedSteps(
  series: Series,
  tally: Tally,
  nowMs: number,
  untilMs: number | null,
): SeriesStep[] {
  const stepMs = series.stepSeconds * 1000;
  const items = [...series.items];
  const last = items.at(-1);
  if (last && untilMs !== null && series.stepSeconds === STEP_SECONDS) {
    const most = Date.parse(last.at) + WINDOW_SECONDS * 1000;
    for (let at = Date.parse(last.at) + stepMs; at < Math.min(untilMs, most); at += stepMs) {
      items.push(emptyStep(at));
    }
  }
  return items
    .filter((step) => Date.parse(step.at) + stepMs <= nowMs)
    .map((step) => {
      const seen = tally.at(Date.parse(step.at));
      if (!seen || series.stepSeconds !== STEP_SECONDS) return step;
      const larger = { ...step };
      for (const name of Object.values(COUNTED)) larger[name] = Math.max(step[name], seen[name]);
      return larger;
    });
}

/** Of a system that has just begun, the whole window would be a line at its right edge. */
const SPANS = [120, 300, WINDOW_SECONDS];

/** Seconds back from `nowMs`: the shortest span that holds all that happened in the steps. */
export function spanSeconds(steps: readonly SeriesStep[], nowMs: number): number {
  const first = steps.find((step) => Object.values(COUNTED).some((name) => step[name] > 0));
  if (!first) return WINDOW_SECONDS;
  const age = (nowMs - Date.parse(first.at)) / 1000;
  return SPANS.find((span) => age <= span) ?? WINDOW_SECONDS;
}

export function total(steps: readonly SeriesStep[], of: (step: SeriesStep) => number): number {
  return steps.reduce((sum, step) => sum + of(step), 0);
}

/** Per second over the last `seconds`; null where nothing covers them. */
export function meanRate(
  steps: readonly SeriesStep[],
  stepSeconds: number,
  seconds: number,
  of: (step: SeriesStep) => number,
): number | null {
  const last = steps.slice(-Math.max(1, Math.round(seconds / stepSeconds)));
  if (!last.length) return null;
  return total(last, of) / (last.length * stepSeconds);
}
