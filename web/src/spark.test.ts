import { describe, expect, it } from "vitest";
import { binned, sparkPath } from "./spark";

describe("a line in a tile", () => {
  it("sums up from the end, so that the last bin is the newest", () => {
    expect(binned([1, 2, 3, 4, 5], 2, true)).toEqual([3, 12]);
    expect(binned([1, null, 3, 9], 2, false)).toEqual([1, 9]);
    expect(binned([null, null, 1], 3, true)).toEqual([null, null, 1]);
  });

  it("has gaps where nothing is known, and none is nothing", () => {
    expect(sparkPath([0, 2, null, 1], 30, 12)).toBe("M0.0 11.0L10.0 1.0M30.0 6.0h1");
    expect(sparkPath([0, 0], 10, 12)).toBe("M0.0 11.0L10.0 11.0");
    expect(sparkPath([], 10, 12)).toBe("");
  });
});
