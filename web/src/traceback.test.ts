import { expect, it } from "vitest";
import { tracebackParts } from "./traceback";

const CHAINED = `Traceback (most recent call last):
  File "/srv/app/observatory/services/processor/run.py", line 88, in _run
    result = handler()
  File "/srv/shop/email.py", line 41, in send
    smtp.send(message)
    ~~~~~~~~~^^^^^^^^^
  File "/usr/lib/python3.11/smtplib.py", line 985, in send_message
    return self.sendmail()
  File "/x/.venv/lib/python3.12/site-packages/stamina/core.py", line 1, in f
ValueError: no
  with a second line

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "<frozen importlib._bootstrap>", line 1, in g
RuntimeError: outer
`;

it("tells own code from libraries, and keeps every line", () => {
  const parts = tracebackParts(CHAINED);
  expect(parts.map((part) => part.kind)).toEqual([
    "text",
    "library",
    "own",
    "library",
    "text",
    "library",
    "text",
  ]);
  expect(parts[3]).toMatchObject({ frames: 2 });
  expect(parts.map((part) => part.text).join("\n")).toBe(CHAINED.trimEnd());
});

it("shows what is no traceback as it is", () => {
  expect(tracebackParts("just words")).toEqual([{ kind: "text", text: "just words" }]);
  expect(tracebackParts("")).toEqual([{ kind: "text", text: "" }]);
});
