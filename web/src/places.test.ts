import { describe, expect, it, vi } from "vitest";
import { Places, type Place } from "./places";

const at = (top: number): Place => ({ top, row: null, below: 0, pointed: null });

describe("places", () => {
  it("are found again with what they held, each by its entry of the history", () => {
    const places = new Places();
    expect(places.enter("list")).toBeNull();
    const list = places.keep("jobs", () => ({ value: { rows: 300 } }));
    expect(places.keep("jobs", () => ({ value: { rows: 0 } }))).toBe(list);
    places.leave(at(900));
    expect(places.enter("job")).toBeNull();
    expect(places.keep("jobs", () => ({ value: null }))).toBeNull();
    places.leave(at(10));
    expect(places.enter("list")).toEqual(at(900));
    expect(places.keep("jobs", () => ({ value: null }))).toBe(list);
    expect(places.enter("another list")).toBeNull();
  });

  it("hold few lists, forget the one that was left the longest ago, and end what it listens to", () => {
    const places = new Places();
    const stops = Array.from({ length: 6 }, () => vi.fn());
    stops.forEach((stop, index) => {
      places.enter(`list ${index}`);
      places.keep("jobs", () => ({ value: index, stop }));
      places.leave(at(index));
      // Views that hold nothing push nothing out.
      for (let n = 0; n < 5; n += 1) places.enter(`job ${index} ${n}`);
    });
    expect(stops.map((stop) => stop.mock.calls.length)).toEqual([1, 1, 0, 0, 0, 0]);
    expect(places.enter("list 0")).toBeNull();
    expect(places.enter("list 2")).toEqual(at(2));
  });

  it("do not hold what nobody can come back to", () => {
    const places = new Places();
    places.enter("list");
    const list = places.keep("jobs", () => ({ value: "rows" }));
    const stops = Array.from({ length: 9 }, () => vi.fn());
    for (const [letter, stop] of stops.entries()) {
      places.enter(`typed ${letter}`);
      places.keep("jobs", () => ({ value: letter, stop }));
      if (letter < 8) places.drop();
    }
    places.enter("job");
    expect(stops.map((stop) => stop.mock.calls.length)).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 0]);
    places.enter("list");
    expect(places.keep("jobs", () => ({ value: "none" }))).toBe(list);
  });

  it("are not remembered without end", () => {
    const places = new Places();
    for (let n = 0; n < 1000; n += 1) {
      places.enter(`job ${n}`);
      places.leave(at(n));
    }
    expect(places.enter("job 0")).toBeNull();
    expect(places.enter("job 999")).toEqual(at(999));
  });
});
