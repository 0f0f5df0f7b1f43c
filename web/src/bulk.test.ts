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

  it("does one thing at a time", async () => {
    const { bulk, sent } = answering([outcome({ dryRun: true, matched: 9 }), outcome({})]);
    await bulk.ask("cancel", { filter: {} });
    const done = bulk.confirm();
    await bulk.ask("retry", { filter: {} });
    await done;
    expect(sent).toHaveLength(2);
  });
});
