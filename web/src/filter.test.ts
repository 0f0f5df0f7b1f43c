import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { apiQuery, EVERYTHING, filterQuery, readAddress, spanMs } from "./address";
import { completions, FORMS, parseFilter, writeFilter } from "./filter";

const KNOWN = { types: ["email.send", "report.build"], queues: ["mail"], workers: ["a:1:x"] };

describe("the filter box", () => {
  it("reads words with names, and the rest as text", () => {
    const { filter, faults } = parseFilter("state:failed,queued queue:mail  connection refused");
    expect(faults).toEqual([]);
    expect(filter).toEqual({
      ...EVERYTHING,
      states: ["queued", "failed"],
      queue: "mail",
      q: "connection refused",
    });
  });

  it("takes a colon that names nothing as text", () => {
    expect(parseFilter("http://host/path").filter.q).toBe("http://host/path");
  });

  it("says that a field it does not have is looked for as text", () => {
    const { filter, faults, notes } = parseFilter("sate:failed queue:mail");
    expect([filter.q, filter.queue, faults]).toEqual(["sate:failed", "mail", []]);
    expect(notes).toEqual([
      "sate is no field, so sate:failed is looked for as text; fields are state, type, queue, worker, " +
        "error, correlation, parent, since, until",
    ]);
    for (const text of ["http://host/path", "KeyError: 'x'", "10:30", "a.b:c", "queue:mail", "word"]) {
      expect(parseFilter(text).notes).toEqual([]);
    }
  });

  it("keeps the colons of a worker's id", () => {
    expect(parseFilter("worker:host-1:4711:b3f0").filter.worker).toBe("host-1:4711:b3f0");
  });

  it("says what it does not understand", () => {
    expect(parseFilter("state:broken").faults[0]).toMatch(/broken is no state/);
    expect(parseFilter("since:yesterday").faults[0]).toMatch(/since:yesterday is no time/);
    expect(parseFilter("since:yesterday").filter.since).toBe("");
  });

  it("says what a value may be, and does not leave that to an answer of the server", () => {
    expect(parseFilter("type:mail.*").faults).toEqual([
      "type:mail.* finds nothing: a type is written whole, in letters, digits and _ . -; " +
        "parts of it are found without type:",
    ]);
    for (const text of ["queue:a/b", "worker:host", "error:xyz", "correlation:ü", "parent:1", "x".repeat(201)]) {
      expect(parseFilter(text).faults, text).toHaveLength(1);
    }
    expect(parseFilter("parent:0190a3c2-6f2e-7c31-9a51-2d9f3c7e8b10").faults).toEqual([]);
  });

  it("asks of a value what the API does", () => {
    const api = JSON.parse(
      readFileSync(new URL("../../contracts/openapi/read-model.v1.json", import.meta.url), "utf8"),
    );
    const asked = Object.values<{ name: string; schema: { pattern?: string } }>(api.components.parameters);
    for (const [member, { form }] of Object.entries(FORMS)) {
      const { pattern } = asked.find((one) => one.name === member)!.schema;
      // No text at all is no filter by text.
      if (pattern) expect(form.source.replace("{0,200}", "{1,200}"), member).toBe(pattern);
      else expect(member).toBe("parentId");
    }
  });

  it("takes a value in quotes for what they are around", () => {
    const { filter, faults } = parseFilter(`queue:"mail" type:'email.send' state:"failed,queued" "x y"`);
    expect(faults).toEqual([]);
    expect(filter).toEqual({
      ...EVERYTHING,
      queue: "mail",
      type: "email.send",
      states: ["queued", "failed"],
      q: '"x y"',
    });
    expect(parseFilter('queue:""').faults).toEqual(["queue: says nothing; write a value behind it"]);
  });

  it("takes a name without a value, or with two, for a fault and not for everything", () => {
    expect(parseFilter("queue:").faults).toEqual(["queue: says nothing; write a value behind it"]);
    expect(parseFilter("state:, mail").faults[0]).toMatch(/^state: says nothing/);
    expect(parseFilter("queue:mail queue:billing").faults).toEqual([
      "queue: stands there twice; one is possible",
    ]);
    expect(parseFilter("state:failed state:queued").faults).toEqual([]);
  });

  it("keeps what the address asks for and no state is, to say so", () => {
    const read = readAddress("#/jobs?state=failed,nonsense");
    const filter = read.view === "jobs" ? read.filter : EVERYTHING;
    expect(writeFilter(filter)).toBe("state:failed,nonsense");
    expect(filterQuery(filter)).toBe("state=failed,nonsense");
    expect(parseFilter(writeFilter(filter)).faults[0]).toMatch(/^nonsense is no state/);
  });

  it("writes what it reads", () => {
    const text = "state:queued,failed type:email.send error:9f2c1a7be0d34455 since:2h refused";
    expect(writeFilter(parseFilter(text).filter)).toBe(text);
  });

  it("is in the address, whole", () => {
    const { filter } = parseFilter("state:failed worker:a:1:x until:2026-01-31T12:00:00Z x y");
    expect(readAddress(`#/jobs?${filterQuery(filter)}`)).toEqual({ view: "jobs", filter });
  });

  it("counts spans back from now", () => {
    const { filter } = parseFilter("since:2h");
    expect(apiQuery(filter, Date.UTC(2026, 0, 31, 12))).toBe("since=2026-01-31T10%3A00%3A00.000Z");
    expect([spanMs("90s"), spanMs("7d"), spanMs("2 h"), spanMs("")]).toEqual([90e3, 604_800e3, null, null]);
  });
});

describe("completion", () => {
  const shown = (text: string) => completions(text, KNOWN).map((one) => one.text);

  it("offers the names that begin so", () => {
    expect(shown("st")).toEqual(["state:"]);
    expect(shown("queue:mail ty")).toEqual(["queue:mail type:"]);
    expect(shown("")).toEqual([]);
  });

  it("offers what is known, that which begins so first", () => {
    expect(shown("type:re")).toEqual(["type:report.build "]);
    expect(shown("type:")).toEqual(["type:email.send ", "type:report.build "]);
    expect(shown("state:failed,co")).toEqual(["state:failed,completed "]);
  });
});
