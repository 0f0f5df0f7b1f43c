import { expect, it } from "vitest";
import type { CloudEvent, Series } from "./contracts";
import { emptyStep, finishedSteps, meanRate, spanSeconds, Tally, total, withTail } from "./series";

const T0 = Date.parse("2026-11-23T21:00:00Z");

function series(from: number, counts: number[]): Series {
  return {
    asOf: new Date(T0).toISOString(),
    logOffset: 1,
    stepSeconds: 5,
    items: counts.map((completed, index) => ({
      ...emptyStep(T0 + (from + index) * 5000),
      completed,
    })),
  };
}

const completed = (of: { items: { completed: number }[] } | null) =>
  of?.items.map((step) => step.completed);

function event(type: string, atMs: number): CloudEvent {
  const time = new Date(atMs).toISOString();
  return { specversion: "1.0", id: "e", source: "/s", type, time, data: {} };
}

it("replaces the end, but not by a step that the window may have cut", () => {
  expect(completed(withTail(series(0, [1, 2, 3]), series(1, [99, 4, 5])))).toEqual([1, 2, 4, 5]);
});

it("asks for all again where the tail does not meet the rest", () => {
  expect(withTail(series(0, [1, 2]), series(9, [1, 2]))).toBeNull();
  expect(withTail(series(0, []), series(0, [1, 2]))).toBeNull();
});

it("goes on with what the page saw itself, and never draws an unfinished step", () => {
  const tally = new Tally();
  tally.add([event("job.completed", T0 + 11_000), event("job.completed", T0 + 12_000)]);
  tally.add([event("job.failed", T0 + 2000), event("worker.started", T0 + 2000)]);
  const now = T0 + 16_000;
  const steps = finishedSteps(series(0, [7, 8]), tally, now, now);
  expect(steps.map((step) => step.completed)).toEqual([7, 8, 2]);
  expect(steps[0]?.failed).toBe(1);
  // Not connected: the line ends where it was last known.
  expect(finishedSteps(series(0, [7, 8]), tally, now, null)).toHaveLength(2);
});

it("takes the larger of two counts of one step", () => {
  const tally = new Tally();
  tally.add([event("job.completed", T0)]);
  expect(finishedSteps(series(0, [7]), tally, T0 + 9000, null)[0]?.completed).toBe(7);
});

it("counts what a line is drawn of, to the step that is not over", () => {
  const tally = new Tally();
  tally.add([event("job.completed", T0 + 11_000)]);
  const now = T0 + 12_000;
  const done = (until: number) => total(finishedSteps(series(0, [7, 8]), tally, until, now), (s) => s.completed);
  expect([done(now), done(Infinity)]).toEqual([15, 16]);
  expect(total([], (s) => s.completed)).toBe(0);
});

it("gives a mean rate over the end", () => {
  expect(meanRate(series(0, [100, 5, 10]).items, 5, 10, (s) => s.completed)).toBe(1.5);
  expect(meanRate([], 5, 60, (s) => s.completed)).toBeNull();
});

it("shows no more of a system that has just begun than what happened since", () => {
  const { items } = series(0, [0, 0, 1, 0, 2]);
  const after = (seconds: number) => spanSeconds(items, T0 + 10_000 + seconds * 1000);
  expect([after(20), after(120), after(121), after(299), after(301), after(2000)]).toEqual([
    120, 120, 300, 300, 900, 900,
  ]);
  expect(spanSeconds(series(0, [0, 0]).items, T0 + 10_000)).toBe(900);
});
