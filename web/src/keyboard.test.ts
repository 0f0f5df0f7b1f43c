import { describe, expect, it, vi } from "vitest";
import { allKeys, bind, press } from "./keyboard";

describe("keys", () => {
  it("run what they are bound to, the newest binding first", () => {
    const below = vi.fn();
    const above = vi.fn();
    const stops = [bind([{ keys: "r", about: "", run: below }]), bind([{ keys: "r", about: "", run: above }])];
    expect(press("r", 0)).toBe(true);
    expect(above).toHaveBeenCalledOnce();
    stops[1]!();
    press("r", 0);
    expect(below).toHaveBeenCalledOnce();
    stops[0]!();
    expect(press("r", 0)).toBe(false);
  });

  it("may be two in a row, in time", () => {
    const went = vi.fn();
    const stop = bind([{ keys: "g j", about: "", run: went }]);
    expect(press("g", 0)).toBe(true);
    expect(press("j", 1000)).toBe(true);
    expect(press("g", 5000)).toBe(true);
    expect(press("j", 9000)).toBe(false);
    expect(went).toHaveBeenCalledOnce();
    stop();
  });

  it("do nothing where they do not apply", () => {
    const run = vi.fn();
    const stop = bind([{ keys: "c", about: "", run, when: () => false }]);
    expect(press("c", 0)).toBe(false);
    expect(run).not.toHaveBeenCalled();
    expect(allKeys().map((one) => one.keys)).toEqual(["c"]);
    stop();
  });
});
