import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { Stats, StatsGroup } from "./contracts";
import { FAILURE_LIMIT, failuresTold, FEW_FAILURES } from "./failing";

const WINDOW = 900;

const group = (failed: number, ended: number) =>
  ({ failedPerSecond: failed / WINDOW, finishedPerSecond: ended / WINDOW }) as StatsGroup;

const told = (failed: number, ended: number, types: Record<string, StatsGroup> = {}) =>
  failuresTold({ windowSeconds: WINDOW, overall: group(failed, ended), types } as Stats);

it("tells that many jobs fail, of which an alert is told only once it has lasted", () => {
  expect(told(400, 1200)).toBe("33 % of the jobs that ended within the last 15 min failed: 400 of 1,200.");
  expect(told(10, 10)).toBe("100 % of the jobs that ended within the last 15 min failed: 10 of 10.");
});

it("tells nothing where few fail, or few of many", () => {
  expect(told(0, 0)).toBeNull();
  expect(told(9, 9)).toBeNull();
  expect(told(60, 1000)).toBeNull();
  expect(told(61, 1000)).not.toBeNull();
});

it("does not let heartbeat jobs hide it", () => {
  const types = { "observatory.heartbeat": group(0, 900), "mail.send": group(20, 100) };
  expect(told(20, 1000, types)).toBe("20 % of the jobs that ended within the last 15 min failed: 20 of 100.");
});

it("tells of a type that fails among many that do not", () => {
  const types = { quick: group(0, 1000), "mail.send": group(10, 30), "mail.read": group(12, 100) };
  expect(told(22, 1130, types)).toBe(
    "12 % of the mail.read jobs that ended within the last 15 min failed: 12 of 100.",
  );
  expect(told(9, 1009, { quick: group(0, 1000), "mail.send": group(9, 9) })).toBeNull();
});

it("has the limits of the alerts", () => {
  const rules = readFileSync(new URL("../../src/observatory/core/alert.py", import.meta.url), "utf8");
  const few = /FEW_FAILURES: Final = (\d+)/.exec(rules)?.[1];
  const limits = [...rules.matchAll(/"ObservatoryJobFailureRatio[^]*?limit=([\d.]+)/g)].map((one) => Number(one[1]));
  expect([Number(few), limits.length, Math.min(...limits)]).toEqual([FEW_FAILURES, 2, FAILURE_LIMIT]);
});
