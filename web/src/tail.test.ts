import { describe, expect, it } from "vitest";
import type { CloudEvent } from "./contracts";
import { KEPT, Tail, wants } from "./tail";

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
});
