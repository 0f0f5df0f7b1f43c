import { beforeEach, describe, expect, it, vi } from "vitest";
import { useKey } from "./api";
import { bulkCall, jobCall, queueCall } from "./shell";

beforeEach(() => {
  vi.stubGlobal("document", { baseURI: "https://jobs.example/observatory/#/queues" });
  useKey("");
});

describe("the same from a shell", () => {
  it("names the filter, option by option, and where to ask", () => {
    const filter = { state: ["failed", "retrying"], correlationId: "it's", q: "-x" };
    const { line, curl } = bulkCall("retry", { filter });
    expect(line).toBe(
      "observatory jobs retry-all --state failed --state retrying --correlation-id 'it'\\''s' --q=-x" +
        " --url https://jobs.example/observatory",
    );
    expect(curl).toContain("https://jobs.example/observatory/jobs/actions");
    expect(curl).toContain(`{"action":"retry","filter":{"state":["failed","retrying"]`);
    expect(bulkCall("cancel", { filter: {} }).line).toContain("cancel-all --all --url");
  });

  it("of chosen jobs is one call for each", () => {
    expect(bulkCall("cancel", { ids: ["a", "b"] }).line).toBe(
      'for id in a b; do observatory jobs cancel "$id" --url https://jobs.example/observatory; done',
    );
  });

  it("of a queue has its name in the path", () => {
    expect(queueCall("pause", "a b")).toEqual({
      line: "observatory queues pause 'a b' --url https://jobs.example/observatory",
      curl: "curl -sS -X POST https://jobs.example/observatory/queues/a%20b/pause",
    });
  });

  it("sends another payload to the digit, and names the key without telling it", () => {
    useKey("secret");
    const { line, curl } = jobCall("retry", "7", '{"n": 9007199254740993}');
    expect(line).toContain(`jobs retry 7 --payload '{"n": 9007199254740993}' --url`);
    expect(curl).toContain(`-d '{"payload": {"n": 9007199254740993}}'`);
    expect(curl).toContain("$OBSERVATORY_API_KEY");
    expect(curl).not.toContain("secret");
  });
});
