/** The log of one job: followed to its end while the job goes on, else read stretch by stretch. */
import { signal } from "@preact/signals";
import type { LogLine, Page } from "./contracts";

/** As many as the API gives at once. */
export const LINES_A_PAGE = 200;
/** More would make the page slow; older ones are read again from the beginning. */
export const KEPT = 2000;
/** A log that grows faster than it is read must not hold up everything else. */
const PAGES_A_READING = 20;

export interface Stretch {
  /** Number of its first line, from 0. */
  first: number;
  lines: readonly LogLine[];
}

type Load = (cursor: string | null) => Promise<Page<LogLine>>;

export class JobLog {
  readonly stretches = signal<readonly Stretch[]>([]);
  /** There are lines behind those that are shown. */
  readonly further = signal(false);
  readonly following = signal(false);
  readonly more = signal<"idle" | "loading" | Error>("idle");

  #load: Load;
  #goesOn: () => boolean;
  /** Where the last stretch begins, and where it goes on; null while it may still grow. */
  #cursor: string | null = null;
  #next: string | null = null;
  #readerChose = false;
  #queue: Promise<unknown> = Promise.resolve();

  /** `goesOn` tells whether the job may still write. */
  constructor(load: Load, goesOn: () => boolean) {
    this.#load = load;
    this.#goesOn = goesOn;
  }

  /** Number of the line behind the last one shown. */
  get end(): number {
    const last = this.stretches.value.at(-1);
    return last ? last.first + last.lines.length : 0;
  }

  /** What came since, and up to the end where that is followed. */
  refresh(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#readerChose && this.#goesOn()) this.following.value = true;
      if (this.#next === null) await this.#again();
      for (let page = 1; page < PAGES_A_READING && this.following.value; page += 1) {
        if (this.#next === null) return;
        await this.#onward();
      }
    });
  }

  loadMore(): Promise<void> {
    return this.#asked(() => (this.#next === null ? this.#again() : this.#onward()));
  }

  async toEnd(): Promise<void> {
    this.#readerChose = true;
    this.following.value = true;
    await this.#asked(async () => {
      while (this.following.value && this.#next !== null) await this.#onward();
    });
  }

  fromBeginning(): Promise<void> {
    this.#readerChose = true;
    this.following.value = false;
    return this.#asked(async () => {
      const page = await this.#load(null);
      this.stretches.value = [];
      this.#put(page, null, 0);
    });
  }

  async #asked(work: () => Promise<void>): Promise<void> {
    this.more.value = "loading";
    try {
      await this.#inTurn(work);
      this.more.value = "idle";
    } catch (reason) {
      this.more.value = reason instanceof Error ? reason : new Error(String(reason));
    }
  }

  /** Two readings at once would put the same lines in twice. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => undefined);
    return done;
  }

  async #again(): Promise<void> {
    const page = await this.#load(this.#cursor);
    const last = this.stretches.value.at(-1);
    if (last && page.next === null && page.items.length === last.lines.length) return;
    this.stretches.value = this.stretches.value.slice(0, -1);
    this.#put(page, this.#cursor, last?.first ?? 0);
  }

  async #onward(): Promise<void> {
    const cursor = this.#next;
    this.#put(await this.#load(cursor), cursor, this.end);
  }

  #put(page: Page<LogLine>, cursor: string | null, first: number): void {
    this.#cursor = cursor;
    this.#next = page.next;
    let kept = [...this.stretches.value, { first, lines: page.items }];
    while (first + page.items.length - kept[0]!.first > KEPT) kept = kept.slice(1);
    this.stretches.value = kept;
    this.further.value = page.next !== null;
  }
}
