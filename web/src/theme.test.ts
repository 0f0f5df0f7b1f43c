import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync(new URL("./page.css", import.meta.url), "utf8");

function variables(selector: string): Record<string, string> {
  const at = css.indexOf(selector);
  const body = css.slice(css.indexOf("{", at) + 1, css.indexOf("}", at));
  return Object.fromEntries([...body.matchAll(/(--[\w-]+):\s*([^;]+);/g)].map((m) => [m[1]!, m[2]!]));
}

describe("the dark theme", () => {
  it("is the same chosen and preferred", () => {
    const chosen = variables(':root[data-theme="dark"]');
    expect(Object.keys(chosen).length).toBeGreaterThan(10);
    expect(chosen).toEqual(variables(':root:not([data-theme="light"])'));
  });
});
