import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { JobSummary, Page } from "./contracts";
import { JobList } from "./joblist";

/** So many jobs there are, one a second, the newest first; a cursor is the number of the next. */
const system = vi.hoisted(() => ({ jobs: 0, version: 1, gone: 0, only: 0, down: false }));

vi.mock("./api", () => ({
  get: (path: string): Promise<Page<JobSummary>> => {
    const query = new URLSearchParams(path.split("?")[1]);
    if (system.down) return Promise.reject(new Error("down"));
    const before = query.get("until");
    const newest = before === null ? system.jobs : Math.min(system.jobs, Math.ceil(Date.parse(before) / 1000) - 1);
    const from = Number(query.get("cursor") ?? newest);
    const to = Math.max(0, from - Number(query.get("limit")));
    const items = Array.from({ length: from - to }, (_, n) => from - n)
      .filter((number) => number !== system.gone && (!system.only || number === system.only))
      .map((number) => ({
        id: `${number}`, version: system.version, createdAt: new Date(1000 * number).toISOString(),
      }) as JobSummary);
    return Promise.resolve({ items, next: to > 0 ? `${to}` : null, asOf: "" });
  },
}));

beforeEach(() => {
  vi.useFakeTimers();
  Object.assign(system, { jobs: 0, version: 1, gone: 0, only: 0, down: false });
});
afterEach(() => void vi.useRealTimers());

async function reading(list: JobList): Promise<() => void> {
  const stop = list.reading.use();
  await vi.advanceTimersByTimeAsync(10);
  return stop;
}

it("is as it was left, until it is looked at again", async () => {
  system.jobs = 300;
  const list = new JobList(() => "", 100);
  const stop = await reading(list);
  await list.loadMore();
  expect(list.ids.value).toHaveLength(200);
  // Left while an answer is on its way, in which no row is one that is shown.
  list.reading.want();
  list.held = true;
  stop();
  system.jobs = 1000;
  await vi.advanceTimersByTimeAsync(60_000);
  expect([list.ids.value.length, list.ids.value[0]]).toEqual([200, "300"]);

  const stopAgain = await reading(list);
  expect([list.ids.value.length, list.waiting.value.length]).toEqual([200, 100]);
  list.show();
  expect([list.ids.value.length, list.ids.value[0]]).toEqual([100, "1000"]);
  stopAgain();
});

it("grows on top while nobody holds it, and not without end", async () => {
  system.jobs = 300;
  const list = new JobList(() => "", 100);
  const stop = await reading(list);
  await list.loadMore();
  const lengths: number[] = [];
  for (let n = 0; n < 20; n += 1) {
    system.jobs += 90;
    list.reading.want();
    await vi.advanceTimersByTimeAsync(2000);
    lengths.push(list.ids.value.length);
  }
  expect(Math.max(...lengths)).toBeGreaterThan(1000);
  expect(Math.max(...lengths)).toBeLessThan(1400);
  expect(lengths.at(-1)).toBeLessThan(1000);
  stop();
});

it("reads every row again after events were missed, once that can be", async () => {
  system.jobs = 300;
  const list = new JobList(() => "", 100);
  const stop = await reading(list);
  await list.loadMore();
  list.held = true;
  Object.assign(system, { jobs: 20_000, version: 2, gone: 150, down: true });
  list.miss();
  list.reading.want();
  await vi.advanceTimersByTimeAsync(2000);
  expect(list.row("101").value.version).toBe(1);

  system.down = false;
  list.reading.want();
  await vi.advanceTimersByTimeAsync(2000);
  expect(list.ids.value).toHaveLength(199);
  expect(list.ids.value).not.toContain("150");
  expect(list.ids.value.every((id) => list.row(id).value.version === 2)).toBe(true);
  stop();
});

it("goes on where it looked for one old job, however long the reader takes", async () => {
  Object.assign(system, { jobs: 1000, only: 50 });
  const list = new JobList(() => "q=50", 100);
  const stop = await reading(list);
  for (let n = 0; n < 9; n += 1) {
    expect(list.ids.value).toEqual([]);
    system.jobs += 10;
    await vi.advanceTimersByTimeAsync(7000);
    await list.loadMore();
  }
  expect(list.ids.value).toEqual(["50"]);
  stop();
});
