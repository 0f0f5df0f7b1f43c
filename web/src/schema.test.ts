import { describe, expect, it } from "vitest";
import { descriptionOf, fields } from "./schema";

describe("a schema in words", () => {
  it("tells each member, its type and whether it is needed", () => {
    const schema = {
      description: "A mail.",
      required: ["to"],
      properties: {
        to: { type: "array", items: { type: "string" }, description: "Who gets it." },
        kind: { enum: ["plain", "rich"] },
        at: { anyOf: [{ $ref: "../job.v1.json#/$defs/time" }, { type: "null" }] },
        any: {},
      },
    };
    expect(descriptionOf(schema)).toBe("A mail.");
    expect(fields(schema)).toEqual([
      { name: "to", type: "array of string", required: true, about: "Who gets it." },
      { name: "kind", type: '"plain" | "rich"', required: false, about: "" },
      { name: "at", type: "time | null", required: false, about: "" },
      { name: "any", type: "anything", required: false, about: "" },
    ]);
  });

  it("finds nothing in what is no object", () => {
    for (const odd of [null, true, "x", [], { properties: null }]) expect(fields(odd)).toEqual([]);
  });
});
