import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { State } from "./contracts";
import { failingCount, LOOK, mayCancel, mayRetry, STATES } from "./state";

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

function palettes(): Record<string, Record<string, string>> {
  const css = readFileSync(new URL("./page.css", import.meta.url), "utf8");
  const blocks = [...css.matchAll(/:root \{([^}]*)\}/g)].map((match) =>
    Object.fromEntries(
      [...match[1]!.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map((one) => [one[1]!, one[2]!]),
    ),
  );
  return { light: blocks[0]!, dark: { ...blocks[0]!, ...blocks[1]! } };
}

describe("looks", () => {
  it.each(STATES)("%s: its icon stands out on its colour", (state) => {
    expect(contrast(LOOK[state].colour, LOOK[state].ink)).toBeGreaterThanOrEqual(4.5);
  });

  it("gives every state its own shape and colour", () => {
    expect(new Set(STATES.map((state) => LOOK[state].shape)).size).toBe(7);
    expect(new Set(STATES.map((state) => LOOK[state].colour)).size).toBe(7);
  });
});

describe.each(Object.entries(palettes()))("%s palette", (_name, colours) => {
  const grounds = ["ground", "sheet", "code-ground", "bad-ground"].map((name) => colours[name]!);
  it.each(["ink", "faint", "link", "good", "bad"])("text in %s reads on every ground", (name) => {
    for (const ground of grounds) expect(contrast(colours[name]!, ground)).toBeGreaterThanOrEqual(4.5);
  });
  it("text reads on the mark of a hidden character", () => {
    expect(contrast(colours["ink"]!, colours["hidden-ground"]!)).toBeGreaterThanOrEqual(4.5);
  });
  it.each(Object.keys(colours).filter((name) => /^line-|^bar-(?!wait)/.test(name)))(
    "%s stands out from the page",
    (name) => {
      expect(contrast(colours[name]!, colours["ground"]!)).toBeGreaterThanOrEqual(3);
    },
  );
});

it("offers only legal moves", () => {
  expect(STATES.filter(mayCancel)).toEqual(["scheduled", "queued", "running", "retrying"]);
  expect(STATES.filter(mayRetry)).toEqual(["retrying", "completed", "failed", "cancelled"]);
});

it("counts as failing what the failures view groups", () => {
  const states = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
  expect(failingCount({ ...states, failed: 20, retrying: 3, running: 9 })).toBe(23);
  expect(failingCount(undefined)).toBe(0);
});
