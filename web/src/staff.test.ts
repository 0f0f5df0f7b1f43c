import { describe, expect, it } from "vitest";
import type { Worker } from "./contracts";
import { inOrder, standing } from "./staff";

const worker = (id: string, told: Partial<Worker> = {}): Worker => ({
  id,
  host: "a",
  pid: 1,
  startedAt: "2026-01-31T12:00:00Z",
  lastSeenAt: "2026-01-31T12:00:00Z",
  state: "active",
  concurrency: 4,
  running: 0,
  queues: [],
  jobTypes: [],
  ...told,
});

describe("workers", () => {
  it("are idle, busy or full, or what they say", () => {
    expect(standing(worker("a"))).toBe("idle");
    expect(standing(worker("a", { running: 3 }))).toBe("busy");
    expect(standing(worker("a", { running: 4 }))).toBe("full");
    expect(standing(worker("a", { running: 4, state: "draining" }))).toBe("draining");
  });

  it("are shown with those that are missed first, and the dead that were rescued last", () => {
    const staff = [
      worker("idle"),
      worker("rescued", { state: "stale", rescued: true }),
      worker("gone", { state: "stopped" }),
      worker("lost", { state: "stale" }),
      worker("newer", { startedAt: "2026-01-31T13:00:00Z" }),
    ];
    expect(inOrder(staff).map((one) => one.id)).toEqual(["lost", "newer", "idle", "gone", "rescued"]);
  });
});
