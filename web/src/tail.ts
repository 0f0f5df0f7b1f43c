/** The newest events, as they come; still while they are read. */
import { signal } from "@preact/signals";
import { get } from "./api";
import type { CloudEvent, LoggedEvent, Page } from "./contracts";

export const KEPT = 500;
const FIRST = 100;
/** An answer is of a stretch of the log, and where few events are wanted most stretches hold none. */
const STRETCHES_AT_ONCE = 8;

/** All that are published. */
export const EVENT_TYPES = [
  ...["created", "queued", "started", "progressed", "attempt_failed", "retrying"].map((one) => `job.${one}`),
  ...["completed", "failed", "cancelled", "pruned"].map((one) => `job.${one}`),
  ...["started", "heartbeat", "lost", "stopped"].map((one) => `worker.${one}`),
  ...["paused", "resumed"].map((one) => `queue.${one}`),
];

export interface Wanted {
  /** A type or the beginning of one: job., job.failed. */
  type: string;
  subject: string;
}

export function wants(wanted: Wanted, event: CloudEvent): boolean {
  return (
    event.type.startsWith(wanted.type) && (!wanted.subject || (event.subject ?? "") === wanted.subject)
  );
}

/** What the API is asked for, which takes whole types only. */
function queryOf({ type, subject }: Wanted): URLSearchParams {
  const query = new URLSearchParams({ limit: String(FIRST) });
  const known = EVENT_TYPES.filter((one) => one.startsWith(type));
  // One that this page does not know may be of a later release.
  const types = known.length ? known.join() : /^[a-z]+(\.[a-z_]+)+$/.test(type) ? type : "";
  if (type && types) query.set("type", types);
  if (subject) query.set("subject", subject);
  return query;
}

type Load = (query: string) => Promise<Page<LoggedEvent>>;

export class Tail {
  /** Newest first. */
  readonly shown = signal<readonly CloudEvent[]>([]);
  /** Came while it was still. */
  readonly waiting = signal(0);
  readonly frozen = signal(false);
  readonly error = signal<Error | null>(null);
  readonly read = signal(false);
  /** Older events were not looked into yet. */
  readonly further = signal(false);
  readonly looking = signal(false);

  #wanted: Wanted;
  #load: Load;
  /** Where older ones would be read; undefined while nothing was. */
  #older: string | null | undefined;
  #all: CloudEvent[] = [];
  #known = new Set<string>();

  constructor(wanted: Wanted, load: Load = (query) => get(`events?${query}`)) {
    this.#wanted = wanted;
    this.#load = load;
  }

  /** The newest there are: when this view was opened, and again after a connection was lost. */
  async begin(): Promise<void> {
    await this.#look(null, this.#older === undefined);
    this.read.value = true;
  }

  /** Those before the ones that were looked into. */
  async lookFurther(): Promise<void> {
    if (this.#older && !this.looking.peek()) await this.#look(this.#older, true);
  }

  /** Back from a position, or from the end, until some are found, or for a moment. */
  async #look(cursor: string | null, remember: boolean): Promise<void> {
    this.looking.value = true;
    try {
      let found = 0;
      for (let stretch = 0; stretch < STRETCHES_AT_ONCE && found < FIRST; stretch += 1) {
        const query = queryOf(this.#wanted);
        if (cursor !== null) query.set("cursor", cursor);
        const page = await this.#load(String(query));
        const met = page.items.some((item) => this.#known.has(item.event.id));
        found += this.#add(page.items.map((item) => item.event).reverse(), false);
        cursor = page.next;
        if (remember) this.#older = cursor;
        if (cursor === null || (met && !remember)) break;
      }
      this.error.value = null;
    } catch (reason) {
      this.error.value = reason instanceof Error ? reason : new Error(String(reason));
    }
    this.further.value = Boolean(this.#older);
    this.looking.value = false;
  }

  hear(events: readonly CloudEvent[]): void {
    this.#add(events, true);
  }

  freeze(frozen: boolean): void {
    this.frozen.value = frozen;
    if (!frozen) this.#show();
  }

  /** How many of them were wanted and not known. */
  #add(events: readonly CloudEvent[], newer: boolean): number {
    const fresh = events.filter((one) => wants(this.#wanted, one) && !this.#known.has(one.id));
    if (!fresh.length) return 0;
    for (const one of fresh) this.#known.add(one.id);
    this.#all = [...this.#all, ...fresh];
    // What was read again may belong between those that were heard.
    if (!newer) this.#all.sort((a, b) => a.time.localeCompare(b.time));
    const dropped = this.#all.splice(0, Math.max(0, this.#all.length - KEPT));
    for (const one of dropped) this.#known.delete(one.id);
    if (this.frozen.peek()) this.waiting.value += fresh.length;
    else this.#show();
    return fresh.length;
  }

  #show(): void {
    this.shown.value = this.#all.toReversed();
    this.waiting.value = 0;
  }
}
