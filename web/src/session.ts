/** What all views of the page share: the connection, the standing figures, the clock. */
import { computed, effect, signal, untracked } from "@preact/signals";
import { authorization, clockAheadMs, get, noticeRefusal, url } from "./api";
import type { Alerts, CloudEvent, FailureGroup, Page, Queue, Series, Stats, Worker } from "./contracts";
import { Live } from "./live";
import { sharingStreams } from "./onestream";
import { Reading, readAll, sleepReadings, wakeReadings } from "./reading";
import { STEP_SECONDS, TAIL_SECONDS, Tally, WINDOW_SECONDS, withTail } from "./series";

type Listener = (events: CloudEvent[]) => void;
const listeners = new Set<Listener>();

/** Hear every event, in batches, until the returned function is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const onGaps = new Set<() => void>();

/** Be told when events were missed, until the returned function is called. */
export function onGap(told: () => void): () => void {
  onGaps.add(told);
  return () => onGaps.delete(told);
}

export const stats = new Reading<Stats>(() => get(`stats?window=${WINDOW_SECONDS}`));
export const queues = new Reading<Page<Queue>>(() => get("queues"), { spacingMs: 2000 });
export const workers = new Reading<Page<Worker>>(() => get("workers"), { spacingMs: 2000 });
export const alerts = new Reading<Alerts>(() => get("alerts"), { spacingMs: 2000 });
export const failures = new Reading<Page<FailureGroup>>(() => get("failures?limit=8"), {
  spacingMs: 2000,
});
export const tally = new Tally();
export const series: Reading<Series> = new Reading<Series>(async () => {
  const whole = series.value.value;
  const about = `step=${STEP_SECONDS}`;
  if (whole) {
    const joined = withTail(whole, await get(`stats/series?window=${TAIL_SECONDS}&${about}`));
    if (joined) return joined;
  }
  return get(`stats/series?window=${WINDOW_SECONDS}&${about}`);
});

export const live = new Live({
  url: () => url("events/stream"),
  headers: authorization,
  fetch: sharingStreams((asked, init) => fetch(asked, init), navigator.locks),
  onOpen: readAll,
  onGap: () => onGaps.forEach((told) => told()),
  onRefused: noticeRefusal,
  onEvents: (events) => {
    tally.add(events);
    const jobs = events.some((event) => event.type.startsWith("job."));
    const other = events.some((event) => /^(?:worker\.(?!heartbeat)|queue\.)/.test(event.type));
    if (jobs || other) for (const one of [stats, queues, workers]) one.want();
    if (jobs) failures.want();
    for (const listener of listeners) listener(events);
  },
});

/** The reader's clock, second by second while the tab is in view. */
export const now = signal(Date.now());
/** The server's clock, as far as it is known. */
export const serverNow = computed(() => now.value + clockAheadMs.value);

/** Since when the figures are old; null while they are not. */
export const staleSince = computed<number | null>(() =>
  stats.error.value ? (stats.readAt.value ?? 0) : null,
);

let ticking: ReturnType<typeof setInterval> | undefined;

function wake(): void {
  clearInterval(ticking);
  now.value = Date.now();
  ticking = setInterval(() => (now.value = Date.now()), 1000);
  wakeReadings();
  live.wake();
}

function sleep(): void {
  clearInterval(ticking);
  sleepReadings();
  live.sleep();
}

export function begin(): void {
  stats.use();
  queues.use();
  workers.use();
  alerts.use();
  document.addEventListener("visibilitychange", () => (document.hidden ? sleep() : wake()));
  addEventListener("pagehide", sleep);
  addEventListener("pageshow", () => document.hidden || wake());
  // The API answers again before the next try of the stream was due.
  let failing = false;
  effect(() => {
    const failed = stats.error.value !== null;
    if (failing && !failed && live.connection.peek().phase === "waiting") untracked(() => live.start());
    failing = failed;
  });
  if (document.hidden) sleep();
  else {
    live.start();
    wake();
  }
}

/** After a key was typed. */
export function beginAgain(): void {
  live.start();
  readAll();
}
