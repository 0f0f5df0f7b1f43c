/** The newest events, as they come; still while they are read. */
import { signal } from "@preact/signals";
import { get } from "./api";
import type { CloudEvent, LoggedEvent, Page } from "./contracts";

export const KEPT = 500;
const FIRST = 100;

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

export class Tail {
  /** Newest first. */
  readonly shown = signal<readonly CloudEvent[]>([]);
  /** Came while it was still. */
  readonly waiting = signal(0);
  readonly frozen = signal(false);
  readonly error = signal<Error | null>(null);
  readonly read = signal(false);

  #wanted: Wanted;
  #all: CloudEvent[] = [];
  #known = new Set<string>();

  constructor(wanted: Wanted) {
    this.#wanted = wanted;
  }

  /** The newest there are: when this view was opened, and again after a connection was lost. */
  async begin(): Promise<void> {
    const query = new URLSearchParams({ limit: String(FIRST) });
    // The API takes whole types only; the beginning of one is looked for here.
    if (/^[a-z]+(\.[a-z_]+)+$/.test(this.#wanted.type)) query.set("type", this.#wanted.type);
    if (this.#wanted.subject) query.set("subject", this.#wanted.subject);
    try {
      const page = await get<Page<LoggedEvent>>(`events?${query}`);
      this.#add(page.items.map((item) => item.event).reverse(), false);
      this.error.value = null;
    } catch (reason) {
      this.error.value = reason instanceof Error ? reason : new Error(String(reason));
    }
    this.read.value = true;
  }

  hear(events: readonly CloudEvent[]): void {
    this.#add(events, true);
  }

  freeze(frozen: boolean): void {
    this.frozen.value = frozen;
    if (!frozen) this.#show();
  }

  #add(events: readonly CloudEvent[], newer: boolean): void {
    const fresh = events.filter((one) => wants(this.#wanted, one) && !this.#known.has(one.id));
    if (!fresh.length) return;
    for (const one of fresh) this.#known.add(one.id);
    this.#all = [...this.#all, ...fresh];
    // What was read again may belong between those that were heard.
    if (!newer) this.#all.sort((a, b) => a.time.localeCompare(b.time));
    const dropped = this.#all.splice(0, Math.max(0, this.#all.length - KEPT));
    for (const one of dropped) this.#known.delete(one.id);
    if (this.frozen.peek()) this.waiting.value += fresh.length;
    else this.#show();
  }

  #show(): void {
    this.shown.value = this.#all.toReversed();
    this.waiting.value = 0;
  }
}
