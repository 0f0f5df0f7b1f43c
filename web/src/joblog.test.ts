import { describe, expect, it } from "vitest";
import type { LogLine, Page } from "./contracts";
import { JobLog, KEPT, LINES_A_PAGE } from "./joblog";

const line = (message: string): LogLine => ({
  attempt: 1,
  at: "2026-01-31T12:00:00Z",
  level: "info",
  message,
  fields: {},
});

/** A log of so many lines, as the API gives it: a cursor only where more stands behind it. */
function log(length: number, running: boolean) {
  const at = { length, asked: 0, running, error: null as Error | null };
  const load = async (cursor: string | null): Promise<Page<LogLine>> => {
    at.asked += 1;
    if (at.error) throw at.error;
    const from = Number(cursor ?? 0);
    const to = Math.min(at.length, from + LINES_A_PAGE);
    const items = Array.from({ length: to - from }, (_, index) => line(String(from + index)));
    return { items, next: to < at.length ? String(to) : null, asOf: "2026-01-31T12:00:00Z" };
  };
  const read = new JobLog(load, () => at.running);
  const shown = () => read.stretches.value.flatMap((one) => one.lines.map((each) => Number(each.message)));
  return { at, read, shown };
}

describe("the log of a job", () => {
  it("is followed to its end while the job goes on, and to the last line it writes", async () => {
    const { at, read, shown } = log(450, true);
    await read.refresh();
    expect([shown().length, shown().at(-1)]).toEqual([450, 449]);
    at.length = 1203;
    at.running = false;
    await read.refresh();
    expect(shown()).toEqual(Array.from({ length: 1203 }, (_, index) => index));
    expect(read.further.value).toBe(false);
  });

  it("asks for its last stretch alone when it is read again", async () => {
    const { at, read } = log(450, true);
    await read.refresh();
    const before = at.asked;
    const stretches = read.stretches.value;
    await read.refresh();
    expect(at.asked - before).toBe(1);
    expect(read.stretches.value).toBe(stretches);
  });

  it("of a job that is finished is read stretch by stretch, or to its end", async () => {
    const { read, shown } = log(3000, false);
    await read.refresh();
    await read.refresh();
    expect([shown().length, read.further.value]).toEqual([LINES_A_PAGE, true]);
    await read.loadMore();
    expect(shown()).toHaveLength(2 * LINES_A_PAGE);
    await read.toEnd();
    expect(shown().at(-1)).toBe(2999);
  });

  it("keeps the newest lines, and finds the older ones again", async () => {
    const { read, shown } = log(3050, true);
    await read.refresh();
    expect(shown().length).toBeLessThanOrEqual(KEPT);
    expect([shown().at(-1), read.end]).toEqual([3049, 3050]);
    await read.fromBeginning();
    await read.refresh();
    expect(shown()).toEqual(Array.from({ length: LINES_A_PAGE }, (_, index) => index));
  });

  it("shows what was read when a request fails, and goes on from there", async () => {
    const { at, read, shown } = log(300, false);
    await read.refresh();
    at.error = new Error("no connection");
    await read.loadMore();
    expect(read.more.value).toBe(at.error);
    expect(shown()).toHaveLength(LINES_A_PAGE);
    at.error = null;
    await Promise.all([read.loadMore(), read.loadMore()]);
    expect(shown()).toEqual(Array.from({ length: 300 }, (_, index) => index));
  });
});
