import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { CloudEvent, LoggedEvent, Page } from "./contracts";
import { EVENT_TYPES, KEPT, Tail, wants } from "./tail";

const event = (id: number, type = "job.created", subject = "a"): CloudEvent => ({
  specversion: "1.0",
  id: String(id),
  source: "/observatory",
  type,
  subject,
  time: "2026-01-31T12:00:00Z",
  data: {},
});

describe("the tail of the events", () => {
  it("shows the newest first, and none twice", () => {
    const tail = new Tail({ type: "", subject: "" });
    tail.hear([event(1), event(2)]);
    tail.hear([event(2), event(3)]);
    expect(tail.shown.value.map((one) => one.id)).toEqual(["3", "2", "1"]);
  });

  it("keeps so many and no more", () => {
    const tail = new Tail({ type: "", subject: "" });
    for (let at = 0; at < KEPT + 50; at += 10) tail.hear(Array.from({ length: 10 }, (_, i) => event(at + i)));
    expect(tail.shown.value).toHaveLength(KEPT);
    expect(tail.shown.value[0]!.id).toBe(String(KEPT + 49));
  });

  it("stands still while it is frozen, and counts what comes", () => {
    const tail = new Tail({ type: "", subject: "" });
    tail.hear([event(1)]);
    tail.freeze(true);
    tail.hear([event(2), event(3)]);
    expect(tail.shown.value).toHaveLength(1);
    expect(tail.waiting.value).toBe(2);
    tail.freeze(false);
    expect(tail.shown.value).toHaveLength(3);
    expect(tail.waiting.value).toBe(0);
  });

  it("leaves out what is not wanted", () => {
    expect(wants({ type: "job.f", subject: "" }, event(1, "job.failed"))).toBe(true);
    expect(wants({ type: "job.f", subject: "" }, event(1))).toBe(false);
    expect(wants({ type: "", subject: "b" }, event(1))).toBe(false);
  });

  /** A log of stretches, the newest first, of which each answer is one. */
  function log(...stretches: CloudEvent[][]) {
    const asked: URLSearchParams[] = [];
    const load = async (query: string) => {
      const given = new URLSearchParams(query);
      asked.push(given);
      const at = Number(given.get("cursor") ?? 0);
      const items = (stretches[at] ?? []).map((one) => ({ position: one.id, event: one }));
      const next = at + 1 < stretches.length ? String(at + 1) : null;
      return { items, next, asOf: "" } as unknown as Page<LoggedEvent>;
    };
    return { asked, load };
  }

  it("looks into older stretches where the newest hold none", async () => {
    const { load, asked } = log([], [], [event(1, "queue.paused")], []);
    const tail = new Tail({ type: "queue.p", subject: "" }, load);
    await tail.begin();
    expect(tail.shown.value.map((one) => one.id)).toEqual(["1"]);
    expect(tail.further.value).toBe(false);
    expect(asked[0]!.get("type")).toBe("queue.paused");
  });

  it("stops after a while, and says that it may look further", async () => {
    const { load } = log(...Array.from({ length: 12 }, () => []), [event(1)]);
    const tail = new Tail({ type: "", subject: "" }, load);
    await tail.begin();
    expect([tail.shown.value.length, tail.further.value]).toEqual([0, true]);
    await tail.lookFurther();
    expect([tail.shown.value.length, tail.further.value]).toEqual([1, false]);
  });

  it("begins again without going back to where it looked", async () => {
    const { load, asked } = log([event(2)], [event(1)], ...Array.from({ length: 12 }, () => []));
    const tail = new Tail({ type: "", subject: "" }, load);
    await tail.begin();
    const before = asked.length;
    await tail.begin();
    expect(asked).toHaveLength(before + 1);
    expect(tail.further.value).toBe(true);
  });

  it("goes on where it looked, though it found nothing and begins again", async () => {
    const { load, asked } = log(...Array.from({ length: 30 }, () => []));
    const tail = new Tail({ type: "", subject: "" }, load);
    await tail.begin();
    await tail.lookFurther();
    const next = String(asked.length);
    await tail.begin();
    await tail.lookFurther();
    expect(asked.map((one) => one.get("cursor"))).toContain(next);
    expect(asked.filter((one) => one.get("cursor") === next)).toHaveLength(1);
  });

  it("can look further, though the first answer did not come", async () => {
    const { load } = log(...Array.from({ length: 12 }, () => []));
    let away = true;
    const tail = new Tail({ type: "", subject: "" }, (query) =>
      away ? Promise.reject(new Error("away")) : load(query),
    );
    await tail.begin();
    away = false;
    await tail.begin();
    expect([tail.error.value, tail.further.value]).toEqual([null, true]);
  });

  it("knows every type that there is a contract of", () => {
    const files = readdirSync(new URL("../../contracts/events", import.meta.url));
    expect([...EVENT_TYPES].sort()).toEqual(files.map((name) => name.replace(/\.v\d+\.json$/, "")).sort());
  });
});
