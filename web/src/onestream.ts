/**
 * One stream for all windows of the page: over HTTP/1.1 a browser keeps six connections to an address
 * at most, and a window that waits for a seventh reads nothing.
 *
 * The window that holds the lock reads the stream and tells the others what it reads. When it goes, or
 * its connection ends, the next goes on behind what it has heard. Locks and channels keep no order with
 * each other: what is told may have been heard before, which its position shows. A browser lends locks
 * only to pages over https or from the same machine, and to none that may keep nothing; elsewhere each
 * window reads its own stream.
 */

export type FetchStream = (url: string, init: StreamInit) => Promise<Response>;

export interface StreamInit extends RequestInit {
  headers: Record<string, string>;
  signal: AbortSignal;
}

/** Whole frames of the stream, and the positions before and after them; null is not known. */
interface Frames {
  text: string;
  after: string | null;
  position: string | null;
}

type Told =
  /** Somebody may not hold the lock, and has seen the events up to a position. */
  | { tells: "came"; from: string; position: string | null }
  /** Who holds the lock connects. */
  | { tells: "waits" }
  /** It is connected: whoever is not yet may come. */
  | { tells: "open" }
  /** One who came is to go on behind this. */
  | { tells: "joined"; to: string; text: string; position: string | null }
  | ({ tells: "frames" } & Frames);

/** Who holds the lock and does not say so is stuck: better a stream of one's own than none. */
const HOLDER_ANSWERS_MS = 2000;
/** What is kept for windows that were away for a moment. */
const TAIL_CHARS = 2_000_000;
/** As the server says it of a position that it has no longer: whatever was read may be behind. */
const RESET = 'event: reset\ndata: {"reason": "events were missed"}\n\n';

/** A fetch for streams of events that windows with the same address and key share. */
export function sharingStreams(fetch: FetchStream, locks: LockManager | undefined): FetchStream {
  if (!locks) return fetch;
  return async (url, init) => {
    // Who reads with another key may be shown something else.
    const name = await digest(`${url} ${init.headers.Authorization ?? ""}`);
    init.signal.throwIfAborted();
    let channel: BroadcastChannel;
    try {
      channel = new BroadcastChannel(name);
    } catch {
      return fetch(url, init);
    }
    return new SharedStream(fetch, url, init, channel, locks, name).response;
  };
}

/** Names of locks are told to every document of the origin, and a key is nobody else's. */
async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

class SharedStream {
  readonly response: Promise<Response>;
  #answer!: (response: Response | PromiseLike<Response>) => void;
  #refuse!: (error: unknown) => void;
  #out!: ReadableStreamDefaultController<Uint8Array>;
  #body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#out = controller) });
  #me = crypto.randomUUID();
  #patience: ReturnType<typeof setTimeout>;
  /** Ended by its reader, by the server, or for a stream that is not shared. */
  #over = new AbortController();
  #holding = false;
  #open = false;
  #position: string | null;
  #tail: Frames[] = [];
  #tailChars = 0;

  constructor(
    private readonly fetch: FetchStream,
    private readonly url: string,
    private readonly init: StreamInit,
    private readonly channel: BroadcastChannel,
    locks: LockManager,
    name: string,
  ) {
    this.response = new Promise((answer, refuse) => {
      this.#answer = answer;
      this.#refuse = refuse;
    });
    this.#position = init.headers["Last-Event-ID"] ?? null;
    channel.onmessage = ({ data }: MessageEvent<Told>) => this.#hear(data);
    this.#patience = setTimeout(() => this.#readAlone(), HOLDER_ANSWERS_MS);
    init.signal.addEventListener("abort", () => this.#fail(init.signal.reason));
    locks
      .request(name, { signal: this.#over.signal }, () => this.#hold())
      .catch((error: unknown) => {
        if (this.#holding || this.#open) this.#fail(error);
        else this.#readAlone();
      });
    this.#come();
  }

  // Reading what another window tells

  #come(): void {
    this.#tell({ tells: "came", from: this.#me, position: this.#position });
  }

  #hear(told: Told): void {
    if (told.tells === "came") {
      if (this.#holding) this.#welcome(told.from, told.position);
    } else if (this.#holding) return;
    else if (told.tells === "frames") {
      if (this.#open) this.#follow(told);
    } else if (!this.#open) {
      clearTimeout(this.#patience);
      if (told.tells === "open") this.#come();
      else if (told.tells === "joined" && told.to === this.#me) {
        this.#begin();
        this.#pass(told.text, told.position);
      }
    }
  }

  #follow({ text, after, position }: Frames): void {
    const mine = this.#position;
    if (mine === null || hasReset(text)) this.#pass(text, position);
    else if (after === null || isBeyond(after, mine)) this.#pass(RESET + text, position);
    else this.#pass(beyond(text, mine), position === null || isBeyond(mine, position) ? mine : position);
  }

  // Reading the stream for all; the lock is held until this ends

  async #hold(): Promise<void> {
    if (this.#over.signal.aborted) return;
    clearTimeout(this.#patience);
    this.#holding = true;
    this.#tell({ tells: "waits" });
    const headers = { ...this.init.headers };
    if (this.#position !== null) headers["Last-Event-ID"] = this.#position;
    const response = await this.fetch(this.url, { ...this.init, headers });
    if (!isStream(response)) {
      if (this.#open) {
        void response.body?.cancel();
        throw new TypeError(`the server answered ${response.status}`);
      }
      this.#answer(response);
      this.#close();
      return;
    }
    // What happened since the window before was gone came to nobody.
    if (this.#open && this.#position === null) this.#passOn(RESET);
    if (!this.#open) this.#begin();
    this.#tell({ tells: "open" });
    await this.#read(response.body!);
    this.#close();
    this.#out.close();
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      // Windows come in between: they are to hear no half of an event.
      const end = endOfFrames(rest);
      if (end === 0) continue;
      this.#passOn(rest.slice(0, end));
      rest = rest.slice(end);
    }
  }

  #passOn(text: string): void {
    const after = this.#position;
    this.#pass(text, lastId(text) ?? (hasReset(text) ? null : after));
    const frames = { text, after, position: this.#position };
    this.#tell({ tells: "frames", ...frames });
    this.#tail.push(frames);
    this.#tailChars += text.length;
    while (this.#tailChars > TAIL_CHARS) this.#tailChars -= this.#tail.shift()!.text.length;
  }

  #welcome(to: string, seen: string | null): void {
    if (!this.#open) this.#tell({ tells: "waits" });
    else this.#tell({ tells: "joined", to, text: this.#since(seen), position: this.#position });
  }

  /** What came behind a position, as far as it is kept. */
  #since(seen: string | null): string {
    if (seen === null || seen === this.#position) return "";
    const kept = this.#tail.findLastIndex(
      ({ after, text }) => hasReset(text) || after === null || !isBeyond(after, seen),
    );
    const first = this.#tail[kept];
    const unknown = !first || first.after === null || hasReset(first.text);
    if (unknown || this.#position === null || isBeyond(seen, this.#position)) return RESET;
    return this.#tail.slice(kept).map(({ text }) => beyond(text, seen)).join("");
  }

  // What all of them do

  #readAlone(): void {
    if (this.#over.signal.aborted) return;
    this.#close();
    this.#answer(this.fetch(this.url, this.init));
  }

  #begin(): void {
    this.#open = true;
    this.#answer(new Response(this.#body, { headers: { "Content-Type": "text/event-stream" } }));
  }

  #pass(text: string, position: string | null): void {
    this.#position = position;
    if (text) this.#out.enqueue(new TextEncoder().encode(text));
  }

  #tell(told: Told): void {
    if (!this.#over.signal.aborted) this.channel.postMessage(told);
  }

  #fail(error: unknown): void {
    if (this.#over.signal.aborted) return;
    this.#close();
    if (this.#open) this.#out.error(error);
    else this.#refuse(error);
  }

  #close(): void {
    clearTimeout(this.#patience);
    this.#over.abort();
    this.channel.close();
  }
}

function isStream(response: Response): boolean {
  const type = response.headers.get("Content-Type") ?? "";
  return response.ok && response.body !== null && type.startsWith("text/event-stream");
}

const FRAME = /[\s\S]*?(?:\r\n\r\n|\n\n)/g;

/** Behind the last empty line, with either kind of line end. */
function endOfFrames(text: string): number {
  const ends = ["\n\n", "\r\n\r\n"].map((end) => [text.lastIndexOf(end), end.length] as const);
  return Math.max(...ends.map(([at, length]) => (at < 0 ? 0 : at + length)));
}

function hasReset(frames: string): boolean {
  return /^event: ?reset$/m.test(frames);
}

function lastId(frames: string): string | null {
  let last: string | null = null;
  for (const [, id] of frames.matchAll(/^id: ?(.*)$/gm)) last = id!;
  return last;
}

/** The frames behind a position, and those that have none. */
function beyond(frames: string, position: string): string {
  const kept = (frames.match(FRAME) ?? []).filter((frame) => {
    const id = lastId(frame);
    return id === null || isBeyond(id, position);
  });
  return kept.join("");
}

/** Positions are `offset-index` of the log. */
function isBeyond(one: string, other: string): boolean {
  const [offset = 0, index = 0] = one.split("-").map(Number);
  const [otherOffset = 0, otherIndex = 0] = other.split("-").map(Number);
  return offset > otherOffset || (offset === otherOffset && index > otherIndex);
}
