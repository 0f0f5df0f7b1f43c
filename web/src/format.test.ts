import { describe, expect, it } from "vitest";
import { age, bytes, cut, duration, elapsed, momentInUtc, pieces, rate, shellQuoted, unbroken, visible } from "./format";

describe("durations", () => {
  it.each([
    [null, "–"],
    [Number.NaN, "–"],
    [0, "0 s"],
    [0.0004, "<1 ms"],
    [0.0042, "4 ms"],
    [0.9996, "1.0 s"],
    [3.21, "3.2 s"],
    [9.96, "10 s"],
    [59.4, "59 s"],
    [59.6, "1 min"],
    [75, "1 min 15 s"],
    [7500, "2 h 5 min"],
    [90_000, "1 d 1 h"],
    [-3, "0 s"],
  ])("%s reads %s", (seconds, text) => expect(duration(seconds)).toBe(text));

  it("counts whole seconds while something goes on", () => {
    expect(elapsed(3.99)).toBe("3 s");
    expect(elapsed(61)).toBe("1 min 1 s");
    expect(age(61)).toBe("1 min");
    expect(age(200_000)).toBe("2 d");
  });

  it("break between two units, and not before one", () => {
    expect(unbroken("13 h 59 min")).toBe("13\u00a0h 59\u00a0min");
    expect(unbroken("441 ms")).toBe("441\u00a0ms");
    expect(unbroken("–")).toBe("–");
  });
});

describe("rates", () => {
  it.each([
    [0, "0"],
    [0.0001, "<0.001"],
    [0.034, "0.034"],
    [4.25, "4.3"],
    [1234.5, "1,235"],
    [null, "–"],
  ])("%s reads %s", (perSecond, text) => expect(rate(perSecond)).toBe(text));
});

describe("hostile text", () => {
  it("shows controls, bidi controls and invisible characters by their number", () => {
    expect(visible("abc\u202Egnp.exe")).toBe("abc‹U+202E›gnp.exe");
    expect(visible("a\u0001b\u007f\u009f\u200b\ufeff")).toBe(
      "a‹U+0001›b‹U+007F›‹U+009F›‹U+200B›‹U+FEFF›",
    );
    expect(visible("\u{e0041}")).toBe("‹U+E0041›");
    expect(visible("lone \ud800 surrogate")).toBe("lone ‹U+D800› surrogate");
    expect(visible("a\rb")).toBe("a‹U+000D›b");
  });

  it("leaves ordinary text of any script as it is", () => {
    for (const text of ["line\n\ttab", "naïve", "日本語", "می‌خواهم", "👩‍👩‍👧 ❤️", "<img src=x>"]) {
      expect(pieces(text)).toEqual([{ text, escaped: false }]);
    }
    expect(pieces("")).toEqual([]);
  });

  it("loses nothing of the text around", () => {
    const parts = pieces("\u0000a\u0000b\u0000");
    expect(parts.map((part) => part.escaped)).toEqual([true, false, true, false, true]);
  });

  it("cuts between characters", () => {
    expect(cut("abc", 3)).toBe("abc");
    expect(cut("ab😀", 3)).toBe("ab");
  });
});

it("quotes for a shell", () => {
  expect(shellQuoted("email.send")).toBe("email.send");
  expect(shellQuoted("it's $HOME")).toBe(`'it'\\''s $HOME'`);
});

it("counts bytes", () => {
  expect([bytes(12), bytes(2048), bytes(3 * 1024 * 1024)]).toEqual(["12 B", "2.0 kB", "3.0 MB"]);
});

it("tells a time of the reader's clock in UTC too", () => {
  expect(momentInUtc("2026-01-31T12:00:00.25Z")).toMatch(
    /^2026-\d\d-\d\d \d\d:\d\d:00\.250 \(2026-01-31T12:00:00\.250Z\)$/,
  );
  expect(momentInUtc("once")).toBe("once");
});
