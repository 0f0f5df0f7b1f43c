/** The seven states as they are shown: word, icon shape, colour (Okabe-Ito), and what may be done. */
import type { State } from "./contracts";

export const STATES: readonly State[] = [
  "scheduled",
  "queued",
  "running",
  "retrying",
  "completed",
  "failed",
  "cancelled",
];

export interface Look {
  /** Fill of the badge that carries the icon. */
  colour: string;
  /** Colour of the icon on it, at least 4.5:1. */
  ink: string;
  /** SVG path in a 16 by 16 box, stroked. Every state has its own shape. */
  shape: string;
  meaning: string;
}

export const LOOK: Record<State, Look> = {
  scheduled: {
    colour: "#cc79a7",
    ink: "#000000",
    shape: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3zM8 5v3.2l2.2 1.4",
    meaning: "due later",
  },
  queued: {
    colour: "#56b4e9",
    ink: "#000000",
    shape: "M3.5 4.5h9M3.5 8h9M3.5 11.5h5",
    meaning: "waits for a worker",
  },
  running: {
    colour: "#0072b2",
    ink: "#ffffff",
    shape: "M5.5 3.5v9l7-4.5z",
    meaning: "an attempt is under way",
  },
  retrying: {
    colour: "#e69f00",
    ink: "#000000",
    shape: "M12.6 8a4.6 4.6 0 1 1-1.5-3.4M11.4 2v3h-3",
    meaning: "failed, waits for its next attempt",
  },
  completed: {
    colour: "#009e73",
    ink: "#000000",
    shape: "M3.5 8.5l3 3 6-7",
    meaning: "done",
  },
  failed: {
    colour: "#d55e00",
    ink: "#000000",
    shape: "M4 4l8 8M12 4l-8 8",
    meaning: "gave up: attempts used up, or not retryable",
  },
  cancelled: {
    colour: "#999999",
    ink: "#000000",
    shape: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3zM4.5 11.5l7-7",
    meaning: "stopped by someone",
  },
};

const TERMINAL: ReadonlySet<State> = new Set(["completed", "failed", "cancelled"]);

/** The jobs that the failures view groups: for good, or until their next attempt. */
export function failingCount(states: Record<State, number> | undefined): number {
  return (states?.failed ?? 0) + (states?.retrying ?? 0);
}

export function isState(text: string): text is State {
  return Object.hasOwn(LOOK, text);
}

export function isTerminal(state: State): boolean {
  return TERMINAL.has(state);
}

export function mayCancel(state: State): boolean {
  return !TERMINAL.has(state);
}

/** A finished job, or one that waits for its next attempt (retried now). */
export function mayRetry(state: State): boolean {
  return TERMINAL.has(state) || state === "retrying";
}
