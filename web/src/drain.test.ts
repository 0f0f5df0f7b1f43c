import { describe, expect, it } from "vitest";
import type { Queue } from "./contracts";
import { secondsToDrain } from "./drain";

const queue = (queued: number, into: number, out: number, paused = false): Queue =>
  ({ paused, createdPerSecond: into, finishedPerSecond: out, states: { queued } }) as Queue;

describe("when a queue will be empty", () => {
  it("is what waits, by how much more goes out than comes in", () => {
    expect(secondsToDrain(queue(100, 5, 15))).toBe(10);
    expect(secondsToDrain(queue(0, 5, 5))).toBe(0);
  });

  it("is not known where it does not get less", () => {
    expect(secondsToDrain(queue(100, 15, 15))).toBeNull();
    expect(secondsToDrain(queue(100, 20, 15))).toBeNull();
    expect(secondsToDrain(queue(100, 5, 15, true))).toBeNull();
  });
});
