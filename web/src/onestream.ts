/**
 * One stream for all windows of the page: over HTTP/1.1 a browser keeps six connections to an address
 * at most, and a window that waits for a seventh reads nothing.
 *
 * The window that holds the lock reads the stream and tells the others what it reads. When it goes, or
 * its connection ends, the next goes on behind what it has heard. A browser lends locks only to pages
 * over https or from the same machine; elsewhere each window reads its own stream.
 */

export type FetchStream = (url: string, init: StreamInit) => Promise<Response>;

export interface StreamInit extends RequestInit {
  headers: Record<string, string>;
  signal: AbortSignal;
}

type Told =
  /** Somebody came who may not hold the lock. */
  | { tells: "came" }
  /** Who holds it says so, and after which event the next will be. */
  | { tells: "held"; open: boolean; position: string | null }
  /** Whole frames of the stream. */
  | { tells: "frames"; text: string; after: string | null; position: string | null };

/** Who holds the lock and does not say so is stuck: better a stream of one's own than none. */
const HOLDER_ANSWERS_MS = 2000;
/** As the server says it of a position that it has no longer: whatever was read may be behind. */
const RESET = 'event: reset\ndata: {"reason": "another window is elsewhere"}\n\n';

/** A fetch for streams of events that windows with the same address and key share. */
export function sharingStreams(fetch: FetchStream, locks: LockManager | undefined): FetchStream {
  return locks ? (url, init) => new SharedStream(fetch, locks, url, init).response : fetch;
}

class SharedStream {
  readonly response: Promise<Response>;
  #answer!: (response: Response | PromiseLike<Response>) => void;
  #refuse!: (error: unknown) => void;
  #out!: ReadableStreamDefaultController<Uint8Array>;
  #body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#out = controller) });
  #channel: BroadcastChannel;
  #patience: ReturnType<typeof setTimeout>;
  /** Ended by its reader, by the server, or for a stream that is not shared. */
  #over = new AbortController();
  #holding = false;
  #open = false;
  #position: string | null;

  constructor(
    private readonly fetch: FetchStream,
    locks: LockManager,
    private readonly url: string,
    private readonly init: StreamInit,
  ) {
    this.response = new Promise((answer, refuse) => {
      this.#answer = answer;
      this.#refuse = refuse;
    });
    this.#position = init.headers["Last-Event-ID"] ?? null;
    // Who reads with another key may be shown something else.
    const name = `${url} ${init.headers.Authorization ?? ""}`;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Told>) => this.#hear(data);
    this.#patience = setTimeout(() => this.#readAlone(), HOLDER_ANSWERS_MS);
    init.signal.addEventListener("abort", () => this.#fail(init.signal.reason));
    locks
      .request(name, { signal: this.#over.signal }, () => this.#hold())
      .catch((error: unknown) => this.#fail(error));
    this.#tell({ tells: "came" });
  }

  #hear(told: Told): void {
    if (this.#holding) {
      if (told.tells === "came") this.#tellHeld();
    } else if (told.tells === "held") {
      clearTimeout(this.#patience);
      if (told.open && !this.#open) {
        this.#begin();
        if (this.#position !== null) this.#goTo(told.position);
        this.#position = told.position;
      }
    } else if (told.tells === "frames" && this.#open) {
      this.#goTo(told.after);
      this.#pass(told.text, told.position);
    }
  }

  /** Read the stream for all; the lock is held until this ends. */
  async #hold(): Promise<void> {
    if (this.#over.signal.aborted) return;
    clearTimeout(this.#patience);
    this.#holding = true;
    this.#tellHeld();
    const headers = { ...this.init.headers };
    if (this.#position !== null) headers["Last-Event-ID"] = this.#position;
    const response = await this.fetch(this.url, { ...this.init, headers });
    if (!this.#open) {
      if (!isStream(response)) {
        this.#answer(response);
        this.#close();
        return;
      }
      this.#begin();
    } else if (!isStream(response)) {
      void response.body?.cancel();
      throw new TypeError(`the server answered ${response.status}`);
    }
    this.#tellHeld();
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
      const text = rest.slice(0, end);
      rest = rest.slice(end);
      const after = this.#position;
      this.#pass(text, lastId(text) ?? after);
      this.#tell({ tells: "frames", text, after, position: this.#position });
    }
  }

  #readAlone(): void {
    this.#close();
    this.#answer(this.fetch(this.url, this.init));
  }

  #begin(): void {
    this.#open = true;
    this.#answer(new Response(this.#body, { headers: { "Content-Type": "text/event-stream" } }));
  }

  /** Where the next event follows another than was heard last, something is missing or comes again. */
  #goTo(position: string | null): void {
    if (position !== this.#position) this.#pass(RESET, position);
  }

  #pass(text: string, position: string | null): void {
    this.#position = position;
    this.#out.enqueue(new TextEncoder().encode(text));
  }

  #tellHeld(): void {
    this.#tell({ tells: "held", open: this.#open, position: this.#position });
  }

  #tell(told: Told): void {
    if (!this.#over.signal.aborted) this.#channel.postMessage(told);
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
    this.#channel.close();
  }
}

function isStream(response: Response): boolean {
  const type = response.headers.get("Content-Type") ?? "";
  return response.ok && response.body !== null && type.startsWith("text/event-stream");
}

/** Behind the last empty line, with either kind of line end. */
function endOfFrames(text: string): number {
  const ends = ["\n\n", "\r\n\r\n"].map((end) => [text.lastIndexOf(end), end.length] as const);
  return Math.max(...ends.map(([at, length]) => (at < 0 ? 0 : at + length)));
}

function lastId(frames: string): string | null {
  let last: string | null = null;
  for (const [, id] of frames.matchAll(/^id: ?(.*)$/gm)) last = id!;
  return last;
}
