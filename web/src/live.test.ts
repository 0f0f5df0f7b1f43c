import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { CloudEvent } from "./contracts";
import { Live, waitBeforeTry } from "./live";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A server whose answers the test gives one by one. */
function server() {
  const asked: Headers[] = [];
  const streams: ReadableStreamDefaultController<Uint8Array>[] = [];
  let status = 200;
  const fetch = (async (_url: string, init: RequestInit) => {
    asked.push(new Headers(init.headers));
    if (status === 0) throw new TypeError("refused");
    if (status !== 200) return new Response("", { status });
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        streams.push(controller);
        init.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  }) as unknown as typeof globalThis.fetch;
  return {
    asked,
    fetch,
    answer: (next: number) => (status = next),
    send: (text: string) => streams.at(-1)!.enqueue(new TextEncoder().encode(text)),
    end: () => streams.at(-1)!.close(),
  };
}

function connected(fetch: typeof globalThis.fetch) {
  const batches: CloudEvent[][] = [];
  let opened = 0;
  let gaps = 0;
  const live = new Live({
    url: () => "http://x/events/stream",
    headers: () => ({ Authorization: "Bearer k" }),
    onEvents: (events) => batches.push(events),
    onOpen: () => (opened += 1),
    onGap: () => (gaps += 1),
    onRefused: () => undefined,
    fetch,
  });
  live.start();
  return { live, batches, opened: () => opened, gaps: () => gaps };
}

const frame = (id: string, type = "job.started") =>
  `id: ${id}\ndata: ${JSON.stringify({ type, data: {} })}\n\n`;
const tick = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

it("hears events in batches, sends the key, and knows its position", async () => {
  const { fetch, asked, send } = server();
  const { live, batches, opened } = connected(fetch);
  await tick();
  expect(live.connection.value.phase).toBe("live");
  expect(opened()).toBe(1);
  send("retry: 1000\n\n: ping\n\n" + frame("7-0"));
  send(frame("7-1") + "data: not json\n\n");
  await tick(100);
  expect(batches.map((batch) => batch.length)).toEqual([2]);
  expect(live.position.value).toBe("7-1");
  expect(asked[0]?.get("authorization")).toBe("Bearer k");
  expect(asked[0]?.get("last-event-id")).toBeNull();
  live.sleep();
});

it("says when it tries again, waits longer each time, and goes on where it was", async () => {
  const { fetch, asked, send, end, answer } = server();
  const { live } = connected(fetch);
  await tick();
  send(frame("9-3"));
  await tick();
  answer(503);
  end();
  await tick();
  expect(live.connection.value).toMatchObject({ phase: "waiting", because: "the connection ended" });
  await tick(1000);
  expect(live.connection.value).toMatchObject({ because: "the server answered 503" });
  answer(0);
  await tick(2000);
  expect(live.connection.value).toMatchObject({ phase: "waiting", because: "no connection" });
  answer(200);
  await tick(4000);
  expect(live.connection.value.phase).toBe("live");
  expect(asked.at(-1)?.get("last-event-id")).toBe("9-3");
  live.sleep();
});

it("does not believe in a line that has gone silent", async () => {
  const { fetch, send } = server();
  const { live } = connected(fetch);
  await tick(30_000);
  send(": ping\n\n");
  await tick(30_000);
  expect(live.connection.value.phase).toBe("live");
  await tick(10_001);
  expect(live.connection.value).toMatchObject({ because: "the line went silent" });
  live.sleep();
});

it("reads a snapshot when its position is no longer kept", async () => {
  const { fetch, send } = server();
  const { live, opened, gaps } = connected(fetch);
  await tick();
  expect(gaps()).toBe(0);
  send(frame("3-0") + 'event: reset\ndata: {"reason":"pruned"}\n\n');
  await tick(100);
  expect([opened(), gaps()]).toEqual([2, 1]);
  expect(live.position.value).toBeNull();
  live.sleep();
});

it("stops at a refusal, and sleeps without trying", async () => {
  const { fetch, asked, answer } = server();
  answer(401);
  const { live } = connected(fetch);
  await tick(60_000);
  expect(live.connection.value.phase).toBe("refused");
  expect(asked).toHaveLength(1);
  answer(200);
  live.start();
  await tick();
  live.sleep();
  await tick(120_000);
  expect(asked).toHaveLength(2);
  live.wake();
  await tick();
  expect(live.connection.value.phase).toBe("live");
  live.sleep();
});

it("has missed nothing where it went on, and something after a long sleep", async () => {
  const { fetch, send, end } = server();
  const { live, gaps } = connected(fetch);
  await tick();
  send(frame("9-3"));
  await tick();
  end();
  await tick(2000);
  expect([live.connection.value.phase, gaps()]).toEqual(["live", 0]);
  live.sleep();
  await tick(61_000);
  live.wake();
  await tick();
  expect([live.connection.value.phase, gaps()]).toEqual(["live", 1]);
  live.sleep();
});

it("waits two seconds at most, however long the server is away", () => {
  expect([0, 1, 2, 3, 5000].map((tries) => waitBeforeTry(tries, 0) / 1000)).toEqual([1, 2, 2, 2, 2]);
  expect(waitBeforeTry(0, 1)).toBe(800);
});
