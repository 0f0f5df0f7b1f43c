import { describe, expect, it } from "vitest";
import type { CloudEvent, JobSummary, Queue } from "./contracts";
import { later, merge, newer, stretches } from "./joblist";
import { afterEvent, attemptInColumn, attemptOf, pausedQueue, ran, suspectTold, waited } from "./row";

const AT = "2026-11-23T21:00:00.000000Z";
const LATER = "2026-11-23T21:00:05.000000Z";

const QUEUED: JobSummary = {
  id: "j",
  type: "email.send",
  queue: "email",
  priority: "normal",
  state: "queued",
  attempt: 0,
  maxAttempts: 3,
  createdAt: AT,
  scheduledAt: null,
  queuedAt: AT,
  startedAt: null,
  finishedAt: null,
  error: null,
  worker: null,
  correlationId: null,
  parentId: null,
  contractVersion: 1,
  progress: null,
  version: 1,
  failures: 0,
  crashes: 0,
  timeoutSeconds: null,
  cancelRequestedAt: null,
  cancelReason: null,
  idempotencyKey: null,
};

function event(type: string, data: object): CloudEvent {
  return {
    specversion: "1.0",
    id: `${type}-1`,
    source: "/observatory/processor/1",
    type,
    subject: "j",
    time: LATER,
    data: { jobId: "j", jobType: "email.send", queue: "email", priority: "normal", ...data },
  };
}

const STARTED = event("job.started", { state: "running", attempt: 1, version: 2, worker: "w" });

describe("a row after an event", () => {
  it("moves on", () => {
    const row = afterEvent(QUEUED, STARTED);
    expect(row).toMatchObject({ state: "running", attempt: 1, startedAt: LATER, worker: "w" });
    expect(waited(row, 0)).toEqual({ seconds: 5, open: false });
    expect(ran(row, Date.parse(LATER) + 2000)).toEqual({ seconds: 2, open: true });
  });

  it("ignores repeats, older versions and other jobs", () => {
    const row = afterEvent(QUEUED, STARTED);
    expect(afterEvent(row, STARTED)).toBe(row);
    expect(afterEvent(row, event("job.queued", { state: "queued", attempt: 0, version: 1 }))).toBe(row);
    expect(afterEvent({ ...QUEUED, id: "other" }, STARTED).state).toBe("queued");
  });

  it("keeps the state where a progress or an attempt's own failure is told", () => {
    const row = afterEvent(QUEUED, STARTED);
    const told = { state: "running", attempt: 1, fraction: 0.5, message: null };
    expect(afterEvent(row, event("job.progressed", told)).progress).toMatchObject({ fraction: 0.5 });
    expect(afterEvent(row, event("job.progressed", { ...told, attempt: 2 }))).toBe(row);
    const failed = { state: "running", attempt: 1, version: 3 };
    expect(afterEvent(row, event("job.attempt_failed", failed))).toBe(row);
  });

  it("does not trust an event without a state", () => {
    expect(afterEvent(QUEUED, event("job.pruned", { state: null, attempt: 1, version: 9 }))).toBe(QUEUED);
  });

  it("prefers the reading that knows more", () => {
    const running = afterEvent(QUEUED, STARTED);
    expect(newer(running, QUEUED)).toBe(running);
    expect(newer(QUEUED, running)).toBe(running);
  });
});

describe("a list after its first page was read again", () => {
  it("takes the new rows when nobody is reading", () => {
    expect(merge(["b", "a"], ["c", "b"], false, false, true)).toEqual({
      shown: ["c", "b"],
      waiting: [],
      takeNext: true,
    });
  });

  it("moves nothing under the pointer", () => {
    const held = merge(["b", "a"], ["d", "c"], false, true, true);
    expect(held).toEqual({ shown: ["b", "a"], waiting: ["d", "c"], takeNext: false });
  });

  it("shows the first page even while held", () => {
    expect(merge([], ["a"], false, true, false).shown).toEqual(["a"]);
  });

  it("keeps the further pages where they meet the first", () => {
    expect(merge(["c", "b", "a"], ["d", "c"], true, false, true)).toEqual({
      shown: ["d", "c", "b", "a"],
      waiting: [],
      takeNext: false,
    });
  });

  it("drops the further pages where rows between would be missing", () => {
    expect(merge(["b", "a"], ["z", "y"], true, false, true).shown).toEqual(["z", "y"]);
  });

  it("drops a row that no longer matches", () => {
    expect(merge(["c", "b", "a"], ["c", "a"], true, false, true).shown).toEqual(["c", "a"]);
  });
});

describe("what a row says in words", () => {
  it("is no fraction once attempts outnumber those of one try", () => {
    const [within, beyond] = [2, 4].map((attempt) => ({ ...QUEUED, attempt }));
    expect([attemptOf(within!), attemptInColumn(within!)]).toEqual(["2 of 3", "2/3"]);
    expect([attemptOf(beyond!), attemptInColumn(beyond!)]).toEqual(["4 (limit: 3 failed attempts)", "4"]);
  });

  it("names the limit in one word where it is one", () => {
    expect(attemptOf({ ...QUEUED, attempt: 2, maxAttempts: 1 })).toBe("2 (limit: 1 failed attempt)");
  });

  it("tells why a suspect waits, while it waits", () => {
    expect(suspectTold(QUEUED)).toBeNull();
    const suspect: JobSummary = { ...QUEUED, crashes: 2 };
    expect(suspectTold(suspect)).toContain("ended 2 times");
    expect(suspectTold({ ...suspect, crashes: 1 })).toBeNull();
    expect(suspectTold({ ...suspect, state: "running" })).toBeNull();
  });
});

describe("a list in stretches", () => {
  it("is all there, in order, the last shorter", () => {
    expect(stretches([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]);
  });

  it("has no empty stretch at its end", () => {
    expect(stretches([1, 2], 2)).toEqual([[1, 2]]);
  });

  it("is one stretch where it is empty", () => {
    expect(stretches([], 2)).toEqual([[]]);
  });
});

describe("a list that is come back to", () => {
  const ids = Array.from({ length: 95 }, (_, row) => `job ${row}`);

  it("is drawn where the reader was first, then what is nearest to it", () => {
    expect(later(ids, 10, ["job 44", null])).toEqual([2, 5, 1, 6, 0, 7, 8, 9]);
    expect(later(ids, 10, ["job 45", "job 47"])).toEqual([3, 6, 2, 7, 1, 8, 0, 9]);
    expect(later(ids, 10, ["job 94", "job 0"])).toEqual([1, 7, 2, 6, 3, 5, 4]);
  });

  it("is drawn from the top where nobody knows where the reader was", () => {
    expect(later(ids, 10, [null, "gone"])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("has nothing to wait for where it is short", () => {
    expect(later([], 10, [null])).toEqual([]);
    expect(later(ids.slice(0, 10), 10, ["job 3"])).toEqual([]);
  });
});

describe("a paused queue", () => {
  const queue = (name: string, pausedAt: string | null) =>
    ({ name, paused: pausedAt !== null, pausedAt }) as Queue;
  const all = [queue("mail", AT), queue("email", LATER), queue("other", null)];

  it("is what holds up a job that waits in it, or is going to", () => {
    expect(pausedQueue(QUEUED, all)?.pausedAt).toBe(LATER);
    expect(pausedQueue({ ...QUEUED, state: "retrying" }, all)?.name).toBe("email");
    expect(pausedQueue({ ...QUEUED, state: "scheduled" }, all)?.name).toBe("email");
  });

  it("is nothing to a job that runs or has ended, or waits elsewhere", () => {
    for (const state of ["running", "completed", "failed", "cancelled"] as const) {
      expect(pausedQueue({ ...QUEUED, state }, all)).toBeNull();
    }
    expect(pausedQueue({ ...QUEUED, queue: "other" }, all)).toBeNull();
    expect(pausedQueue(QUEUED, [])).toBeNull();
  });
});
