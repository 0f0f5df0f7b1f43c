/**
 * The one connection to GET /events/stream.
 *
 * The framing is eventsource-parser's. The connection is kept here and not by an EventSource,
 * because the page must say when it tries again, must go on trying after a 502 or 503, and must
 * notice a line that has gone silent: an EventSource hides its timer, ends at any answer but 200
 * and hides the pings.
 */
import { signal } from "@preact/signals";
import { createParser } from "eventsource-parser";
import type { CloudEvent } from "./contracts";
import type { FetchStream } from "./onestream";

export type Connection =
  | { phase: "connecting" }
  | { phase: "live" }
  | { phase: "waiting"; until: number; because: string }
  | { phase: "refused"; because: string }
  /** The tab is hidden, or the page is closing. */
  | { phase: "asleep" };

export interface LiveOptions {
  url: () => string;
  headers: () => Record<string, string>;
  /** Events in order, at most `updatesPerSecond` calls a second. */
  onEvents: (events: CloudEvent[]) => void;
  /** A (re)connection: whatever was read before may be behind. */
  onOpen: () => void;
  /** Events were missed and will not come: a row that was only followed may be behind. */
  onGap: () => void;
  onRefused: (status: number, text: string) => void;
  fetch: FetchStream;
}

/** The server pings every 15 s. */
const SILENCE_MS = 40_000;
const UPDATES_MS = 100;
const CONNECT_MS = 15_000;
/** Asleep for longer, the page reads a fresh snapshot and does not replay what happened. */
const REPLAY_MS = 60_000;

/**
 * 1, 2, 2 … seconds, each up to a fifth less so that many pages do not come at once: a page that
 * somebody looks at is right again within 3 s of the server's return. A hidden one does not try.
 */
export function waitBeforeTry(tries: number, chance: number): number {
  return Math.min(2000, 1000 * 2 ** tries) * (1 - 0.2 * chance);
}

export class Live {
  readonly connection = signal<Connection>({ phase: "connecting" });
  /** Position of the last event seen. */
  readonly position = signal<string | null>(null);
  /** When the line was last heard, ping or event, by the reader's clock. */
  heardAt = 0;

  #options: LiveOptions;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #flush: ReturnType<typeof setTimeout> | undefined;
  #buffer: CloudEvent[] = [];
  #tries = 0;
  #sleptAt = 0;

  constructor(options: LiveOptions) {
    this.#options = options;
  }

  /** Connect now, whatever it was doing. */
  start(): void {
    this.#stop();
    const abort = new AbortController();
    this.#abort = abort;
    this.connection.value = { phase: "connecting" };
    this.#silence = setTimeout(() => abort.abort("no answer"), CONNECT_MS);
    void this.#read(abort);
  }

  /** Hang up until `wake`. */
  sleep(): void {
    if (this.connection.value.phase === "asleep") return;
    this.#stop();
    this.#sleptAt = Date.now();
    this.connection.value = { phase: "asleep" };
  }

  wake(): void {
    if (this.connection.value.phase !== "asleep") return;
    if (Date.now() - this.#sleptAt > REPLAY_MS) this.position.value = null;
    this.#tries = 0;
    this.start();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    const abort = this.#abort;
    this.#abort = null;
    abort?.abort("closed");
  }

  async #read(abort: AbortController): Promise<void> {
    let because = "the connection ended";
    const missed = this.heardAt > 0 && this.position.value === null;
    try {
      const response = await this.#options.fetch(this.#options.url(), {
        headers: {
          Accept: "text/event-stream",
          ...(this.position.value ? { "Last-Event-ID": this.position.value } : {}),
          ...this.#options.headers(),
        },
        cache: "no-store",
        credentials: "same-origin",
        signal: abort.signal,
      });
      if (abort !== this.#abort) return;
      if (!response.ok || !response.body) {
        void response.body?.cancel();
        this.#answered(response.status);
        return;
      }
      if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
        void response.body.cancel();
        this.#retry("something that is not the API answered");
        return;
      }
      this.#tries = 0;
      this.#heard(abort);
      this.connection.value = { phase: "live" };
      if (missed) this.#options.onGap();
      this.#options.onOpen();
      await this.#follow(response.body, abort);
    } catch {
      if (typeof abort.signal.reason === "string") because = abort.signal.reason;
      else because = "no connection";
    }
    if (abort === this.#abort) this.#retry(because);
  }

  async #follow(stream: ReadableStream<Uint8Array>, abort: AbortController): Promise<void> {
    const parser = createParser({
      onEvent: ({ id, event, data }) => {
        if (event === "reset") {
          this.position.value = null;
          this.#options.onGap();
          this.#options.onOpen();
          return;
        }
        if (id) this.position.value = id;
        const read = cloudEvent(data);
        if (read) this.#buffer.push(read);
      },
    });
    const reader = stream.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || abort !== this.#abort) return;
      this.#heard(abort);
      parser.feed(decoder.decode(value, { stream: true }));
      if (this.#buffer.length) this.#flush ??= setTimeout(() => this.#deliver(), UPDATES_MS);
    }
  }

  #deliver(): void {
    this.#flush = undefined;
    const events = this.#buffer;
    this.#buffer = [];
    if (events.length) this.#options.onEvents(events);
  }

  #heard(abort: AbortController): void {
    this.heardAt = Date.now();
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => abort.abort("the line went silent"), SILENCE_MS);
  }

  #answered(status: number): void {
    clearTimeout(this.#silence);
    if (status === 401 || status === 403) {
      this.#abort = null;
      const because = status === 401 ? "a key is needed" : "this key may not read";
      this.connection.value = { phase: "refused", because };
      this.#options.onRefused(status, because);
    } else this.#retry(`the server answered ${status}`);
  }

  #retry(because: string): void {
    clearTimeout(this.#silence);
    const wait = waitBeforeTry(this.#tries, Math.random());
    this.#tries += 1;
    this.connection.value = { phase: "waiting", until: Date.now() + wait, because };
    this.#timer = setTimeout(() => this.start(), wait);
  }
}

function cloudEvent(data: string): CloudEvent | null {
  try {
    const read = JSON.parse(data) as CloudEvent;
    return typeof read.type === "string" && typeof read.data === "object" ? read : null;
  } catch {
    return null;
  }
}
