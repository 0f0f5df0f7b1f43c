import { expect, it } from "vitest";
import { EVERYTHING, jobHref, jobsHref, queueHref, readAddress } from "./address";

it("reads every view", () => {
  expect(readAddress("")).toEqual({ view: "overview" });
  expect(readAddress("#/")).toEqual({ view: "overview" });
  expect(readAddress("#/jobs")).toEqual({ view: "jobs", filter: EVERYTHING });
  expect(readAddress("#/jobs/0190-a?attempt=3")).toEqual({ view: "job", id: "0190-a", attempt: 3 });
  expect(readAddress("#/elsewhere/x")).toEqual({ view: "unknown", text: "/elsewhere/x" });
});

it("keeps the whole filter in the address", () => {
  const filter = { states: ["retrying", "failed"] as const, type: "a.b", queue: "q", q: "50% & ?#" };
  const href = jobsHref({ ...filter, states: [...filter.states] });
  expect(href).toContain("state=retrying,failed");
  expect(readAddress(href)).toEqual({ view: "jobs", filter: { ...EVERYTHING, ...filter } });
});

it("drops states that are none, and survives broken escapes", () => {
  expect(readAddress("#/jobs?state=failed,nonsense,constructor&state=failed")).toMatchObject({
    filter: { states: ["failed"] },
  });
  expect(readAddress("#/jobs/%E0%A4%A")).toMatchObject({ view: "job" });
});

it("names a queue among the others", () => {
  expect(readAddress("#/queues")).toEqual({ view: "queues", queue: "" });
  expect(readAddress(queueHref("a b&c"))).toEqual({ view: "queues", queue: "a b&c" });
});

it("names a job by an id that needs escapes", () => {
  expect(readAddress(jobHref("a/b?c"))).toEqual({ view: "job", id: "a/b?c", attempt: null });
});
