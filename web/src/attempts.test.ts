import { expect, it } from "vitest";
import { pastTimeout, signs, timeline } from "./attempts";
import type { Attempt, Job } from "./contracts";

const T0 = Date.parse("2026-11-23T21:00:00Z");
const at = (seconds: number) => new Date(T0 + seconds * 1000).toISOString();

const JOB = {
  state: "retrying",
  createdAt: at(0),
  queuedAt: at(0),
  scheduledAt: at(20),
  finishedAt: null,
} as Job;

const FIRST: Attempt = {
  attempt: 1,
  outcome: "failed",
  worker: "w",
  queuedAt: at(0),
  startedAt: at(2),
  finishedAt: at(5),
  waitSeconds: 2,
  runSeconds: 3,
  error: null,
  retryAt: at(20),
};

const told = (seconds: number | null) => `${seconds} s`;

it("keeps the wait apart from the run, and shows the pause before the next attempt", () => {
  const { seconds, lanes } = timeline(JOB, [FIRST], T0 + 10_000, told);
  expect(seconds).toBe(10);
  expect(lanes[0]?.bars).toEqual([
    { kind: "wait", from: 0, to: 0.2 },
    { kind: "run", from: 0.2, to: 0.5, outcome: "failed" },
  ]);
  expect(lanes[1]).toMatchObject({ label: "next attempt", told: "due in 10 s" });
});

it("shows a job that waits for its first attempt", () => {
  const { lanes } = timeline({ ...JOB, state: "queued" }, [], T0 + 4000, told);
  expect(lanes).toEqual([
    {
      label: "attempt 1",
      told: "waiting for a worker, 4 s so far",
      bars: [{ kind: "wait", from: 0, to: 1 }],
    },
  ]);
});

it("ends with the job", () => {
  const done = { ...JOB, state: "completed", finishedAt: at(5) } as Job;
  expect(timeline(done, [FIRST], T0 + 900_000, told).seconds).toBe(5);
});

it("says of a run that ended by itself that its timeout did not cut it off", () => {
  const blocked: Attempt = { ...FIRST, outcome: "completed", runSeconds: 8 };
  expect(pastTimeout(blocked, 1)).toBe(", past its timeout of 1 s");
  expect(pastTimeout(blocked, 7.8)).toBe("");
  expect(pastTimeout(blocked, null)).toBe("");
  expect(pastTimeout({ ...blocked, outcome: "timeout" }, 1)).toBe("");
});

it("does not tell how long a lost run took, which nobody knows", () => {
  const lost: Attempt = { ...FIRST, outcome: "lost", runSeconds: 517, finishedAt: at(519) };
  const { lanes } = timeline(JOB, [lost], T0 + 600_000, told);
  expect(lanes[0]?.told).toBe("waited 2 s, noticed after 517 s, lost");
});

it("tells what each bar that is drawn stands for, and those that look alike together", () => {
  const attempts: Attempt[] = [FIRST, { ...FIRST, attempt: 2, outcome: "lost" }];
  const told = (one: Job, of: Attempt[]) =>
    signs(timeline(one, of, T0 + 10_000, String).lanes).map((sign) => [sign.bar.kind, sign.words]);
  expect(told(JOB, attempts)).toEqual([
    ["wait", "wait"],
    ["run", "failed, lost"],
    ["pause", "until it is due"],
  ]);
  const under: Attempt = { ...FIRST, attempt: 3, outcome: null, finishedAt: null };
  expect(told({ ...JOB, state: "running" }, [FIRST, under])).toEqual([
    ["wait", "wait"],
    ["run", "failed"],
    ["run", "running"],
  ]);
});
