import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sharingStreams, type FetchStream } from "./onestream";

const ADDRESS = "http://x/events/stream";
const frame = (id: string) => `id: ${id}\ndata: {}\n\n`;
/** Channels deliver in tasks of their own, which no fake clock moves. */
const settle = () => new Promise((done) => setTimeout(done, 20));

/** A fake: browsers have locks, Node 20 has none. Exclusive, first come first served, by name. */
function locks(): LockManager {
  const held = new Map<string, Promise<unknown>>();
  const request = (name: string, options: LockOptions, hold: () => Promise<void>) => {
    const before = held.get(name) ?? Promise.resolve();
    const mine = before.then(() => {
      if (options.signal?.aborted) throw options.signal.reason;
      return hold();
    });
    held.set(name, mine.catch(() => undefined));
    return mine;
  };
  return { request } as unknown as LockManager;
}

/** A server that counts what is asked and whose streams the test feeds. */
function server() {
  const asked: Record<string, string>[] = [];
  const streams: ReadableStreamDefaultController<Uint8Array>[] = [];
  let status = 200;
  const fetch: FetchStream = async (_url, init) => {
    asked.push(init.headers);
    if (status !== 200) return new Response("", { status });
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        streams.push(controller);
        init.signal.addEventListener("abort", () => controller.error(init.signal.reason));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
  return {
    fetch,
    asked,
    answer: (next: number) => (status = next),
    send: (text: string) => streams.at(-1)!.enqueue(new TextEncoder().encode(text)),
    end: () => streams.at(-1)!.close(),
  };
}

/** A window: what it asks with, what it has read, how it ended. */
function opened(share: FetchStream, headers: Record<string, string> = {}) {
  const leave = new AbortController();
  const window = { status: 0, text: "", ended: "", leave: () => leave.abort("closed") };
  void (async () => {
    try {
      const response = await share(ADDRESS, { headers, signal: leave.signal });
      window.status = response.status;
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        window.text += value;
      }
      window.ended = "by the server";
    } catch (error) {
      window.ended = String(error);
    }
  })();
  windows.push(window);
  return window;
}
const windows: { leave: () => void }[] = [];

beforeEach(() => vi.useRealTimers());
afterEach(() => {
  windows.splice(0).forEach((window) => window.leave());
});

it("reads one stream for all windows, and tells each all of it", async () => {
  const { fetch, asked, send } = server();
  const share = sharingStreams(fetch, locks());
  const first = opened(share);
  await settle();
  send("retry: 1000\n" + frame("1-0"));
  await settle();
  const others = [opened(share), opened(share)];
  await settle();
  expect(asked).toHaveLength(1);
  expect(others.map((one) => one.status)).toEqual([200, 200]);
  send(frame("2-0") + "id: 3-0\nda");
  send("ta: {}\n\n: ping\r\n\r\n");
  await settle();
  const later = frame("2-0") + frame("3-0") + ": ping\r\n\r\n";
  expect(first.text).toBe("retry: 1000\n" + frame("1-0") + later);
  expect(others.map((one) => one.text)).toEqual([later, later]);
});

it("goes on in another window behind what it has heard", async () => {
  const { fetch, asked, send } = server();
  const share = sharingStreams(fetch, locks());
  const [first, second, third] = [opened(share), opened(share), opened(share)];
  await settle();
  send(frame("1-0"));
  await settle();
  first.leave();
  await settle();
  expect(first.ended).toContain("closed");
  expect(asked).toHaveLength(2);
  expect(asked[1]).toMatchObject({ "Last-Event-ID": "1-0" });
  send(frame("2-0"));
  await settle();
  expect([second.text, third.text]).toEqual([frame("1-0") + frame("2-0"), frame("1-0") + frame("2-0")]);
  expect([second.ended, third.ended]).toEqual(["", ""]);
});

it("says that something may be missing to a window that was elsewhere", async () => {
  const { fetch, asked, send } = server();
  const share = sharingStreams(fetch, locks());
  opened(share);
  await settle();
  send(frame("5-0"));
  await settle();
  const behind = opened(share, { "Last-Event-ID": "3-0" });
  const beside = opened(share, { "Last-Event-ID": "5-0" });
  await settle();
  send(frame("6-0"));
  await settle();
  expect(asked).toHaveLength(1);
  expect(behind.text).toMatch(/^event: reset\n.*\n\nid: 6-0\n/);
  expect(beside.text).toBe(frame("6-0"));
});

it("ends for all when the server ends it, and each is told how the server answers", async () => {
  const { fetch, end, answer } = server();
  const share = sharingStreams(fetch, locks());
  const both = [opened(share), opened(share)];
  await settle();
  answer(503);
  end();
  await settle();
  expect(both[0]!.ended).toBe("by the server");
  expect(both[1]!.ended).toContain("503");
  const next = opened(share);
  await settle();
  expect(next.status).toBe(503);
});

it("does not share what another key may read", async () => {
  const { fetch, asked } = server();
  const share = sharingStreams(fetch, locks());
  opened(share, { Authorization: "Bearer one" });
  opened(share, { Authorization: "Bearer other" });
  await settle();
  expect(asked).toHaveLength(2);
});

it("reads alone where the window that should read for it says nothing", async () => {
  const { fetch, asked } = server();
  const stuck = { request: () => new Promise(() => undefined) } as unknown as LockManager;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const alone = opened(sharingStreams(fetch, stuck));
  await vi.advanceTimersByTimeAsync(1999);
  expect(asked).toHaveLength(0);
  await vi.advanceTimersByTimeAsync(2);
  vi.useRealTimers();
  await settle();
  expect(asked).toHaveLength(1);
  expect(alone.status).toBe(200);
});

it("reads alone where the browser lends no locks", async () => {
  const { fetch, asked } = server();
  const share = sharingStreams(fetch, undefined);
  opened(share);
  opened(share);
  await settle();
  expect(asked).toHaveLength(2);
});
