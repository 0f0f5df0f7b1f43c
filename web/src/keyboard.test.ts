import { describe, expect, it, vi } from "vitest";
import { allKeys, bind, declare, declareHandled, help, press, type Key } from "./keyboard";

const key = (keys: string, run: () => void): Key => ({ place: "Jobs", keys, about: "", run });

describe("keys", () => {
  it("run what they are bound to, the newest binding first", () => {
    const below = vi.fn();
    const above = vi.fn();
    const stops = [bind([key("r", below)]), bind([key("r", above)])];
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
    const stop = bind([key("g j", went)]);
    expect(press("g", 0)).toBe(true);
    expect(press("j", 1000)).toBe(true);
    expect(press("g", 5000)).toBe(true);
    expect(press("j", 9000)).toBe(false);
    expect(went).toHaveBeenCalledOnce();
    stop();
  });

  it("do nothing where they do not apply", () => {
    const run = vi.fn();
    const stop = bind([{ ...key("c", run), when: () => false }]);
    expect(press("c", 0)).toBe(false);
    expect(run).not.toHaveBeenCalled();
    expect(allKeys().map((one) => one.keys)).toEqual(["c"]);
    stop();
  });

  it("are told in the help wherever the reader is, and which of them do something there", () => {
    const retry = declare("A job", "r", "retry");
    const up = declare("Everywhere", "Escape", "up");
    const no = declare("Questions and fields", "Escape", "no");
    declareHandled("Questions and fields", "Tab", "take it");
    const told = () =>
      help().map(({ place, keys }) => `${place}: ${keys.map((one) => `${one.keys}${one.on ? "" : " off"}`)}`);
    let may = false;
    const stops = [bind([{ ...up, run() {} }])];
    expect(told()).toEqual(["Everywhere: Escape", "A job: r off", "Questions and fields: Escape off,Tab"]);
    stops.push(bind([{ ...retry, run() {}, when: () => may }]), bind([{ ...no, run() {} }]));
    expect(told()).toEqual(["Everywhere: Escape off", "A job: r off", "Questions and fields: Escape,Tab"]);
    may = true;
    expect(told()[1]).toBe("A job: r");
    stops.forEach((stop) => stop());
  });
});
