/** A job's life laid out on one time line: waits and runs, attempt by attempt. */
import type { Attempt, AttemptOutcome, Job } from "./contracts";

export interface Bar {
  kind: "wait" | "run" | "pause";
  /** Fractions of the whole. */
  from: number;
  to: number;
  outcome?: AttemptOutcome | null;
}

export interface Lane {
  label: string;
  told: string;
  bars: Bar[];
}

export interface Timeline {
  seconds: number;
  lanes: Lane[];
}

type Told = (seconds: number | null) => string;

/** How far past its timeout a run may end without the timeout having failed to end it. */
const OVER_SECONDS = 0.5;

/** An async handler that blocks the event loop cannot be cut off; what it then returns is kept. */
export function pastTimeout(one: Attempt, timeout: number | null): string {
  const ended = one.outcome === "completed" || one.outcome === "failed";
  const over = timeout !== null && one.runSeconds !== null && one.runSeconds >= timeout + OVER_SECONDS;
  return ended && over ? `, past its timeout of ${timeout} s` : "";
}

/** Bars that look alike, and what they say. */
export interface Sign {
  bar: Bar;
  words: string;
}

const LOOKS_LIKE: Partial<Record<AttemptOutcome, AttemptOutcome>> = {
  timeout: "failed",
  lost: "failed",
  released: "cancelled",
};

/** What the bars that are drawn stand for, each look once. */
export function signs(lanes: readonly Lane[]): Sign[] {
  const words = { wait: "wait", pause: "until it is due", run: "running" };
  const found = new Map<string, { bar: Bar; words: Set<string> }>();
  for (const bar of lanes.flatMap((lane) => lane.bars)) {
    const { kind, outcome } = bar;
    const look = outcome ? (LOOKS_LIKE[outcome] ?? outcome) : kind;
    const sign = found.get(look) ?? { bar: { ...bar, from: 0, to: 1 }, words: new Set() };
    found.set(look, sign);
    sign.words.add(outcome ?? words[kind]);
  }
  return [...found.values()].map((sign) => ({ bar: sign.bar, words: [...sign.words].join(", ") }));
}

export function timeline(job: Job, attempts: readonly Attempt[], nowMs: number, told: Told): Timeline {
  const ms = (at: string | null) => (at === null ? null : Date.parse(at));
  const begin = Math.min(
    ms(job.createdAt)!,
    ...attempts.map((one) => ms(one.queuedAt) ?? ms(one.startedAt)!),
  );
  const over = job.state === "completed" || job.state === "failed" || job.state === "cancelled";
  const last = attempts.at(-1);
  const end = Math.max(
    begin + 1,
    over ? (ms(job.finishedAt) ?? ms(last?.finishedAt ?? null) ?? nowMs) : nowMs,
    ...attempts.map((one) => ms(one.finishedAt) ?? 0),
  );
  const at = (time: number) => Math.min(1, Math.max(0, (time - begin) / (end - begin)));
  const bar = (kind: Bar["kind"], from: number, to: number, outcome?: AttemptOutcome | null): Bar => ({
    kind,
    from: at(from),
    to: at(to),
    ...(outcome === undefined ? {} : { outcome }),
  });

  const lanes = attempts.map((one): Lane => {
    const started = ms(one.startedAt)!;
    const finished = ms(one.finishedAt) ?? nowMs;
    const queued = ms(one.queuedAt);
    const bars: Bar[] = [];
    if (queued !== null) bars.push(bar("wait", queued, started));
    bars.push(bar("run", started, finished, one.outcome));
    const run = one.runSeconds ?? (finished - started) / 1000;
    const outcome = (one.outcome ?? "running") + pastTimeout(one, job.timeoutSeconds);
    // When a lost run ended nobody knows, only when that was noticed.
    const ran = one.outcome === "lost" ? `noticed after ${told(run)}` : `ran ${told(run)}`;
    return {
      label: `attempt ${one.attempt}`,
      told: `waited ${told(one.waitSeconds)}, ${ran}, ${outcome}`,
      bars,
    };
  });
  const queued = ms(job.queuedAt) ?? ms(job.createdAt)!;
  if (job.state === "queued") {
    const waited = (nowMs - queued) / 1000;
    lanes.push({
      label: attempts.length ? "next attempt" : "attempt 1",
      told: `waiting for a worker, ${told(waited)} so far`,
      bars: [bar("wait", queued, nowMs)],
    });
  } else if (job.state === "scheduled" || job.state === "retrying") {
    const from = ms(last?.finishedAt ?? null) ?? ms(job.createdAt)!;
    const due = ms(job.scheduledAt);
    const left = due === null ? null : (due - nowMs) / 1000;
    lanes.push({
      label: attempts.length ? "next attempt" : "attempt 1",
      told: left === null ? "not due yet" : left > 0 ? `due in ${told(left)}` : "due now",
      bars: [bar("pause", from, nowMs)],
    });
  } else if (!lanes.length) {
    lanes.push({
      label: "attempt 1",
      told: `${job.state} without an attempt`,
      bars: [bar("wait", queued, end)],
    });
  }
  return { seconds: (end - begin) / 1000, lanes };
}
