import { describe, expect, it, vi } from "vitest";
import { Bulk } from "./bulk";
import type { BulkOutcome } from "./contracts";

const outcome = (told: Partial<BulkOutcome>): BulkOutcome => ({
  action: "retry",
  dryRun: false,
  matched: 0,
  changed: 0,
  skipped: 0,
  complete: true,
  next: null,
  ...told,
});

function answering(answers: (BulkOutcome | Error)[]) {
  const sent: unknown[] = [];
  const bulk = new Bulk(async (body) => {
    sent.push(body);
    const next = answers.shift()!;
    if (next instanceof Error) throw next;
    return next;
  });
  return { bulk, sent };
}

describe("one action on many jobs", () => {
  it("counts before it asks, and changes nothing before it is told to", async () => {
    const { bulk, sent } = answering([outcome({ dryRun: true, matched: 12 })]);
    await bulk.ask("retry", { filter: { state: ["failed"] } });
    expect(sent).toEqual([{ action: "retry", filter: { state: ["failed"] }, dryRun: true }]);
    expect(bulk.state.value).toMatchObject({ phase: "asking", count: 12, complete: true });
  });

  it("begins with what was counted, and goes on until nothing is left", async () => {
    const { bulk, sent } = answering([
      outcome({ dryRun: true, matched: 700, next: "z" }),
      outcome({ changed: 499, skipped: 1, complete: false, next: "a" }),
      outcome({ changed: 200 }),
    ]);
    const after = vi.fn();
    await bulk.ask("retry", { filter: {} }, after);
    await bulk.confirm();
    expect(sent.slice(1)).toEqual([
      { action: "retry", filter: {}, cursor: "z" },
      { action: "retry", filter: {}, cursor: "a" },
    ]);
    expect(bulk.state.value).toEqual({ phase: "done", action: "retry", changed: 699, skipped: 1 });
    expect(after).toHaveBeenCalledOnce();
  });

  it("says how far it came when it fails, and goes on from there", async () => {
    const { bulk, sent } = answering([
      outcome({ dryRun: true, matched: 700, next: "z" }),
      outcome({ changed: 500, complete: false, next: "a" }),
      new Error("no connection"),
      outcome({ changed: 200 }),
    ]);
    const after = vi.fn();
    await bulk.ask("cancel", { filter: {} }, after);
    await bulk.confirm();
    bulk.leave(true);
    expect(bulk.state.value).toMatchObject({ phase: "stopped", changed: 500 });
    expect(after).not.toHaveBeenCalled();
    await bulk.goOn();
    expect(sent.at(-1)).toEqual({ action: "cancel", filter: {}, cursor: "a" });
    expect(bulk.state.value).toMatchObject({ phase: "done", changed: 700 });
  });

  it("is stopped between stretches, and says so", async () => {
    const { bulk, sent } = answering([
      outcome({ dryRun: true, matched: 9, next: "z" }),
      outcome({ changed: 5, complete: false, next: "a" }),
    ]);
    await bulk.ask("cancel", { filter: {} });
    const done = bulk.confirm();
    bulk.stop();
    await done;
    expect(sent).toHaveLength(2);
    expect(bulk.state.value).toMatchObject({ phase: "stopped", changed: 5, error: null });
  });

  it("is no end where an answer was cut off", async () => {
    const { bulk } = answering([
      outcome({ dryRun: true, matched: 90 }),
      outcome({ changed: 50, complete: false }),
    ]);
    const after = vi.fn();
    await bulk.ask("retry", { ids: ["a"] }, after);
    await bulk.confirm();
    expect(bulk.state.value).toMatchObject({ phase: "stopped", changed: 50 });
    expect(bulk.mayGoOn).toBe(false);
    expect(after).not.toHaveBeenCalled();
  });

  it("asks no more once the reader has left, and forgets what is done", async () => {
    const { bulk } = answering([
      outcome({ dryRun: true, matched: 9 }),
      outcome({ dryRun: true, matched: 2 }),
      outcome({ changed: 2 }),
    ]);
    await bulk.ask("retry", { filter: { state: ["failed"] } }, undefined, "state:failed");
    expect(bulk.state.value).toMatchObject({ phase: "asking", what: "state:failed" });
    bulk.leave(false);
    expect(bulk.state.value.phase).toBe("idle");
    await bulk.ask("retry", { ids: ["a", "b"] });
    await bulk.confirm();
    bulk.leave(false);
    expect(bulk.state.value.phase).toBe("done");
    bulk.leave(true);
    expect(bulk.state.value.phase).toBe("idle");
  });

  it("does not take the answer to one question for that to the next", async () => {
    const waiting: ((told: BulkOutcome) => void)[] = [];
    const bulk = new Bulk(() => new Promise((resolve) => waiting.push(resolve)));
    const first = bulk.ask("cancel", { filter: {} }, undefined, "everything");
    bulk.leave(false);
    const second = bulk.ask("cancel", { ids: ["a"] }, undefined, "one");
    waiting[0]!(outcome({ dryRun: true, matched: 900 }));
    await first;
    expect(bulk.state.value.phase).toBe("counting");
    waiting[1]!(outcome({ dryRun: true, matched: 1 }));
    await second;
    expect(bulk.state.value).toMatchObject({ phase: "asking", what: "one", count: 1 });
  });

  it("does one thing at a time", async () => {
    const { bulk, sent } = answering([outcome({ dryRun: true, matched: 9 }), outcome({})]);
    await bulk.ask("cancel", { filter: {} });
    const done = bulk.confirm();
    await bulk.ask("retry", { filter: {} });
    await done;
    expect(sent).toHaveLength(2);
  });
});
