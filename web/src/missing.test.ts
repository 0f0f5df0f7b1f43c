import { expect, it } from "vitest";
import type { Worker } from "./contracts";
import { missing, RESCUED_TOLD_MS } from "./missing";

const NOW = Date.parse("2026-11-23T21:00:00Z");

const worker = (pid: number, unseenMs: number, more: Partial<Worker> = {}): Worker => ({
  id: `vm:${pid}:0`,
  host: "vm",
  pid,
  startedAt: new Date(NOW - 3_600_000).toISOString(),
  lastSeenAt: new Date(NOW - unseenMs).toISOString(),
  state: "stale",
  concurrency: 32,
  running: 0,
  queues: [],
  jobTypes: [],
  ...more,
});

it("warns of a worker that nobody has heard of and that is not rescued, however long", () => {
  const told = ["Worker vm:1 has not been heard of lately."];
  expect(missing([worker(1, 20_000)], NOW)).toEqual(told);
  expect(missing([worker(1, 3_600_000, { rescued: false })], NOW)).toEqual(told);
});

it("tells of a rescued worker for some minutes", () => {
  const rescued = (unseenMs: number) => missing([worker(1, unseenMs, { rescued: true })], NOW);
  expect(rescued(RESCUED_TOLD_MS - 1)).toEqual(["Worker vm:1 has died; what it ran was taken from it."]);
  expect(rescued(RESCUED_TOLD_MS)).toEqual([]);
});

it("leaves those alone that are at work or have left", () => {
  const staff = (["active", "draining", "stopped"] as const).map((state) => worker(1, 0, { state }));
  expect(missing(staff, NOW)).toEqual([]);
});

it("says how many more there are than it names, those that are not rescued and the latest first", () => {
  const staff = [1, 2, 3, 4].map((pid) => worker(pid, pid * 1000, { rescued: true }));
  const unseen = worker(5, 9_000);
  expect(missing([...staff, unseen], NOW)).toEqual([
    "Worker vm:5 has not been heard of lately.",
    "Worker vm:1 has died; what it ran was taken from it.",
    "Worker vm:2 has died; what it ran was taken from it.",
    "And 2 more workers.",
  ]);
  expect(missing(staff, NOW).at(-1)).toBe("And 1 more worker.");
});
