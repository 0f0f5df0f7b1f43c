/** Something read from the API again and again: never two requests at once, never too often. */
import { signal } from "@preact/signals";

export interface ReadingOptions {
  /** At least this long between two requests, however often it is asked for. */
  spacingMs?: number;
  /** Read again after this long when nobody asks. */
  everyMs?: number;
}

const inUse = new Set<Reading<unknown>>();
let asleep = false;

/** Read everything that is in view again: the connection is new, or the tab is back. */
export function readAll(): void {
  for (const reading of inUse) reading.want();
}

/** A hidden tab reads nothing. */
export function sleepReadings(): void {
  asleep = true;
  for (const reading of inUse) reading.rest();
}

export function wakeReadings(): void {
  asleep = false;
  readAll();
}

export class Reading<T> {
  /** The last answer. A failed request leaves it as it was. */
  readonly value = signal<T | null>(null);
  /** Why the last request failed; null when it did not. */
  readonly error = signal<Error | null>(null);
  /** When the last answer came, by the reader's clock. */
  readonly readAt = signal<number | null>(null);

  #load: () => Promise<T>;
  #spacingMs: number;
  #everyMs: number;
  #users = 0;
  #startedAt = Number.NEGATIVE_INFINITY;
  #underWay = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(load: () => Promise<T>, options: ReadingOptions = {}) {
    this.#load = load;
    this.#spacingMs = options.spacingMs ?? 1000;
    this.#everyMs = options.everyMs ?? 5000;
  }

  /** Keep it fresh until the returned function is called. */
  use = (): (() => void) => {
    this.#users += 1;
    inUse.add(this as Reading<unknown>);
    if (this.#users === 1) this.want();
    return () => {
      this.#users -= 1;
      if (this.#users > 0) return;
      inUse.delete(this as Reading<unknown>);
      this.rest();
    };
  };

  /** Read soon: at once, or when the spacing allows. Many calls make one request. */
  want(): void {
    if (this.#users === 0 || asleep) return;
    if (this.#underWay) this.#again = true;
    else this.#in(this.#startedAt + this.#spacingMs - Date.now());
  }

  rest(): void {
    clearTimeout(this.#timer);
    this.#again = false;
  }

  #in(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#read(), Math.max(0, ms));
  }

  async #read(): Promise<void> {
    this.#underWay = true;
    this.#again = false;
    this.#startedAt = Date.now();
    try {
      const answer = await this.#load();
      this.value.value = answer;
      this.readAt.value = Date.now();
      this.error.value = null;
    } catch (reason) {
      this.error.value = reason instanceof Error ? reason : new Error(String(reason));
    }
    this.#underWay = false;
    if (this.#users === 0 || asleep) return;
    this.#in(this.#startedAt + (this.#again ? this.#spacingMs : this.#everyMs) - Date.now());
  }
}
