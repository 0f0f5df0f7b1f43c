import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sharingStreams, type FetchStream } from "./onestream";

const ADDRESS = "http://x/events/stream";
const frame = (id: string) => `id: ${id}\ndata: {}\n\n`;
/** Channels deliver in tasks of their own, which no fake clock moves. */
const settle = () => new Promise((done) => setTimeout(done, 20));

/** A fake: browsers have locks, Node 20 has none. Exclusive, first come first served, by name. */
function locks(names: string[] = []): LockManager {
  const held = new Map<string, Promise<unknown>>();
  const request = (name: string, options: LockOptions, hold: () => Promise<void>) => {
    names.push(name);
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
function open(share: FetchStream, headers: Record<string, string> = {}) {
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

/** The same, once it has asked for the lock: in which order windows come is the test's to say. */
async function opened(share: FetchStream, headers: Record<string, string> = {}) {
  const window = open(share, headers);
  await settle();
  return window;
}

beforeEach(() => vi.useRealTimers());
afterEach(() => {
  windows.splice(0).forEach((window) => window.leave());
});

it("reads one stream for all windows, and tells each all of it", async () => {
  const { fetch, asked, send } = server();
  const share = sharingStreams(fetch, locks());
  const first = await opened(share);
  await settle();
  send("retry: 1000\n" + frame("1-0"));
  await settle();
  const others = [await opened(share), await opened(share)];
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
  const [first, second, third] = [await opened(share), await opened(share), await opened(share)];
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

it("goes on for a window that was away, and says where something may be missing", async () => {
  const { fetch, asked, send } = server();
  const share = sharingStreams(fetch, locks());
  await opened(share);
  await settle();
  send(frame("5-0"));
  await settle();
  send(frame("6-0") + frame("6-1"));
  send(frame("7-0"));
  await settle();
  const from = (position: string) => opened(share, { "Last-Event-ID": position });
  const positions = ["3-0", "5-0", "6-0", "7-0", "9-0"];
  const windows = await Promise.all(positions.map(from));
  await settle();
  send(frame("8-0"));
  await settle();
  expect(asked).toHaveLength(1);
  const reset = expect.stringMatching(/^event: reset\n.*\n\nid: 8-0\n.*\n\n$/);
  expect(windows.map((one) => one.text)).toEqual([
    reset,
    frame("6-0") + frame("6-1") + frame("7-0") + frame("8-0"),
    frame("6-1") + frame("7-0") + frame("8-0"),
    frame("8-0"),
    reset,
  ]);
});

it("says that something may be missing where it goes on and nothing was heard yet", async () => {
  const { fetch, asked } = server();
  const share = sharingStreams(fetch, locks());
  const [first, second, third] = [await opened(share), await opened(share), await opened(share)];
  await settle();
  first.leave();
  await settle();
  expect(asked[1]).not.toHaveProperty("Last-Event-ID");
  expect([second.text, third.text].map((text) => text.split("\n")[0])).toEqual(Array(2).fill("event: reset"));
});

it("hears nothing twice where the next window goes on from before", async () => {
  const { fetch, send } = server();
  const share = sharingStreams(fetch, locks());
  const [first, second, third] = [await opened(share), await opened(share), await opened(share)];
  await settle();
  send(frame("1-0") + frame("2-0"));
  await settle();
  first.leave();
  await settle();
  // As if the second had not heard of 2-0 when it came to hold the lock.
  send(frame("2-0") + frame("3-0"));
  await settle();
  expect(third.text).toBe(frame("1-0") + frame("2-0") + frame("3-0"));
  expect(second.text).toContain(frame("3-0"));
});

it("takes every event of a log that begins anew", async () => {
  const { fetch, send } = server();
  const share = sharingStreams(fetch, locks());
  const both = [await opened(share), await opened(share)];
  await settle();
  send(frame("9-0"));
  const anew = "event: reset\ndata: {}\n\n" + frame("1-0");
  send(anew);
  send(frame("2-0"));
  await settle();
  expect(both.map((one) => one.text)).toEqual(Array(2).fill(frame("9-0") + anew + frame("2-0")));
});

it("ends for all when the server ends it, and each is told how the server answers", async () => {
  const { fetch, end, answer } = server();
  const share = sharingStreams(fetch, locks());
  const both = [await opened(share), await opened(share)];
  await settle();
  answer(503);
  end();
  await settle();
  expect(both[0]!.ended).toBe("by the server");
  expect(both[1]!.ended).toContain("503");
  const next = await opened(share);
  await settle();
  expect(next.status).toBe(503);
});

it("does not share what another key may read, and tells nobody the key", async () => {
  const { fetch, asked } = server();
  const names: string[] = [];
  const share = sharingStreams(fetch, locks(names));
  await opened(share, { Authorization: "Bearer one" });
  await opened(share, { Authorization: "Bearer other" });
  await settle();
  expect(asked).toHaveLength(2);
  expect(names.join()).not.toMatch(/Bearer|one|other/);
});

it("reads alone where the window that should read for it says nothing", async () => {
  const { fetch, asked } = server();
  let came = () => {};
  const arrived = new Promise<void>((done) => (came = done));
  const request = () => (came(), new Promise(() => undefined));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const alone = open(sharingStreams(fetch, { request } as unknown as LockManager));
  await arrived;
  await vi.advanceTimersByTimeAsync(1999);
  expect(asked).toHaveLength(0);
  await vi.advanceTimersByTimeAsync(2);
  vi.useRealTimers();
  await settle();
  expect(asked).toHaveLength(1);
  expect(alone.status).toBe(200);
});

it("reads alone where the browser refuses the lock", async () => {
  const { fetch, asked } = server();
  const request = () => Promise.reject(new DOMException("The request was denied.", "SecurityError"));
  const alone = await opened(sharingStreams(fetch, { request } as unknown as LockManager));
  await settle();
  expect([asked.length, alone.status]).toEqual([1, 200]);
});

it("reads alone where the browser lends no locks", async () => {
  const { fetch, asked } = server();
  const share = sharingStreams(fetch, undefined);
  await opened(share);
  await opened(share);
  await settle();
  expect(asked).toHaveLength(2);
});
