import { expect, it } from "vitest";
import { ApiError, keyFault, noticeRefusal, refusal } from "./api";

it("takes for a key only what a request can carry", () => {
  expect(keyFault("reader.c2VjcmV0_-=")).toBeNull();
  for (const typed of ["ключ", "two words", "naïve", ""]) expect(keyFault(typed)).toMatch(/ASCII/);
});

it("tells a fault once", () => {
  const title = "A parameter is not acceptable";
  const fault = { pointer: "/since", detail: "must be a time" };
  const told = new ApiError(400, { title, detail: "since: must be a time", errors: [fault] });
  expect(told.message).toBe(`${title} (400): since: must be a time`);
  const two = new ApiError(422, { title, detail: "two faults", errors: [fault] });
  expect(two.message).toBe(`${title} (422): two faults; /since must be a time`);
});

it("notices that a key may not do what was asked", () => {
  noticeRefusal(404, "no");
  expect(refusal.value).toBeNull();
  noticeRefusal(403, "needs the scope operate");
  expect(refusal.value).toEqual({ status: 403, text: "needs the scope operate" });
  refusal.value = null;
});
