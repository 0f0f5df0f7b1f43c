/** A list of jobs on the page: rows change in place, new rows never move what is being read. */
import { signal, type Signal } from "@preact/signals";
import { get } from "./api";
import type { CloudEvent, JobSummary, Page } from "./contracts";
import { Reading } from "./reading";
import { afterEvent } from "./row";

export interface Merged {
  shown: string[];
  /** Not shown yet: someone is reading. */
  waiting: string[];
  /** The fresh page says where the list goes on; otherwise the old cursor still does. */
  takeNext: boolean;
}

/**
 * The list after its first page was read again, newest first.
 *
 * @param extended more than one page was read.
 * @param held nothing may move now.
 */
export function merge(
  shown: readonly string[],
  fresh: readonly string[],
  extended: boolean,
  held: boolean,
  hasMore: boolean,
): Merged {
  const known = new Set(shown);
  const waiting = fresh.filter((id) => !known.has(id));
  if (held && shown.length) return { shown: [...shown], waiting, takeNext: false };
  // The first page of a search may be empty and have more behind it, and so may all that was
  // looked into.
  const overlap = waiting.length < fresh.length || fresh.length === 0 || shown.length === 0;
  if (!extended || !overlap || !hasMore) return { shown: [...fresh], waiting: [], takeNext: true };
  const inFresh = new Set(fresh);
  let end = shown.length - 1;
  while (end >= 0 && !inFresh.has(shown[end]!)) end -= 1;
  return { shown: [...fresh, ...shown.slice(end + 1)], waiting: [], takeNext: false };
}

/** Of two readings of one job, the one that knows more. */
export function newer(known: JobSummary, read: JobSummary): JobSummary {
  if (read.version !== known.version) return read.version > known.version ? read : known;
  const heard = known.progress;
  const later = heard && (!read.progress || heard.at > read.progress.at);
  return later && read.state === "running" ? { ...read, progress: heard } : read;
}

/** A list in stretches of so many; the last may be shorter. There is always one. */
export function stretches<T>(list: readonly T[], size: number): T[][] {
  const parts: T[][] = [list.slice(0, size)];
  for (let at = size; at < list.length; at += size) parts.push(list.slice(at, at + size));
  return parts;
}

/**
 * The stretches that may be drawn later when a list is come back to, the nearest to the reader first.
 *
 * @param at rows where the reader was; none of them known, the reader is at the top.
 */
export function later(ids: readonly string[], size: number, at: readonly (string | null)[]): number[] {
  const known = at.map((id) => ids.indexOf(id ?? "")).filter((row) => row >= 0);
  // What is around a row is in sight, too, and may be of the stretch beside it.
  const near = (known.length ? known : [0]).flatMap((row) => [
    Math.floor(Math.max(0, row - size / 2) / size),
    Math.floor((row + size / 2) / size),
  ]);
  const away = (stretch: number) => Math.min(...near.map((one) => Math.abs(one - stretch)));
  return stretches(ids, size)
    .map((_, stretch) => stretch)
    .filter((stretch) => away(stretch) > 0)
    .sort((a, b) => away(a) - away(b));
}

/** More rows than were loaded by hand come on top of a long list, until it begins anew. */
const GROWN_MAX = 1000;

export class JobList {
  readonly ids = signal<string[]>([]);
  readonly waiting = signal<string[]>([]);
  readonly next = signal<string | null>(null);
  readonly more = signal<"idle" | "loading" | Error>("idle");
  readonly reading: Reading<Page<JobSummary>>;
  /**
   * Told by the table: someone points at it, has scrolled into it, or has the focus in it; or it is
   * not in view, and whoever comes back is to find it as it was.
   */
  held = false;

  /** Rows a page; so many waiting means that there may be more. */
  readonly limit: number;

  #query: () => string;
  /** Rows there were when the reader last loaded more, which may be none; null while there is one
   * page. */
  #loaded: number | null = null;
  #rows = new Map<string, Signal<JobSummary>>();
  /** Rows below the first page were not heard of for a while. */
  #behind = false;

  /** `query` is asked for each time: spans back from now move on. */
  constructor(query: () => string, limit: number) {
    this.#query = query;
    this.limit = limit;
    this.reading = new Reading(async () => {
      const page = await this.#page(null);
      this.#merge(page, this.held);
      if (this.#behind) await this.#catchUp();
      return page;
    });
  }

  row(id: string): Signal<JobSummary> {
    return this.#rows.get(id)!;
  }

  hear(events: readonly CloudEvent[]): void {
    for (const event of events) {
      const row = event.subject === undefined ? undefined : this.#rows.get(event.subject);
      if (row) row.value = afterEvent(row.value, event);
    }
    if (events.some((event) => event.type !== "job.progressed" && event.type.startsWith("job."))) {
      this.reading.want();
    }
  }

  /** Events were missed: what is shown is read again, however far it goes down. */
  miss(): void {
    this.#behind = this.ids.value.length > 0;
  }

  /** Put in what waited. */
  show(): void {
    const page = this.reading.value.value;
    if (page) this.#merge(page, false);
  }

  async loadMore(): Promise<void> {
    const cursor = this.next.value;
    if (cursor === null || this.more.value === "loading") return;
    this.more.value = "loading";
    try {
      const page = await this.#page(cursor);
      this.#keep(page.items);
      const known = new Set(this.ids.value);
      this.next.value = page.next;
      this.ids.value = [
        ...this.ids.value,
        ...page.items.map((job) => job.id).filter((id) => !known.has(id)),
      ];
      this.#loaded = this.ids.value.length;
      this.more.value = "idle";
    } catch (reason) {
      this.more.value = reason instanceof Error ? reason : new Error(String(reason));
    }
  }

  /** Read again all that is shown; what is found no more has left the list. */
  async #catchUp(): Promise<void> {
    this.#behind = false;
    const shown = this.ids.value;
    const missing = new Set(shown);
    const created = (id: string | undefined) => Date.parse(this.#rows.get(id ?? "")?.value.createdAt ?? "");
    const [newest, oldest] = [created(shown[0]), created(shown.at(-1))];
    try {
      let cursor: string | null = null;
      do {
        const page: Page<JobSummary> = await this.#page(cursor, newest + 1);
        for (const job of page.items) missing.delete(job.id);
        this.#keep(page.items.filter((job) => this.#rows.has(job.id)));
        const last = page.items.at(-1);
        cursor = last && Date.parse(last.createdAt) < oldest ? null : page.next;
      } while (missing.size && cursor !== null);
    } catch (reason) {
      this.#behind = true;
      throw reason;
    }
    if (missing.size) this.ids.value = this.ids.value.filter((id) => !missing.has(id));
  }

  /** `untilMs`: only jobs from before this time, in milliseconds since the epoch. */
  #page(cursor: string | null, untilMs = Infinity): Promise<Page<JobSummary>> {
    const query = new URLSearchParams(this.#query());
    query.set("limit", String(this.limit));
    if (untilMs < Date.parse(query.get("until") ?? "9999-01-01")) {
      query.set("until", new Date(untilMs).toISOString());
    }
    if (cursor !== null) query.set("cursor", cursor);
    return get(`jobs?${query}`);
  }

  #keep(items: readonly JobSummary[]): void {
    for (const job of items) {
      const row = this.#rows.get(job.id);
      if (row) row.value = newer(row.value, job);
      else this.#rows.set(job.id, signal(job));
    }
  }

  #merge(page: Page<JobSummary>, held: boolean): void {
    this.#keep(page.items);
    const fresh = page.items.map((job) => job.id);
    const extended = this.#loaded !== null && this.ids.value.length < this.#loaded + GROWN_MAX;
    const merged = merge(this.ids.value, fresh, extended, held, page.next !== null);
    if (!same(this.ids.value, merged.shown)) this.ids.value = merged.shown;
    if (!same(this.waiting.value, merged.waiting)) this.waiting.value = merged.waiting;
    if (merged.takeNext) {
      this.next.value = page.next;
      this.#loaded = null;
    }
    const needed = new Set([...merged.shown, ...merged.waiting]);
    for (const id of this.#rows.keys()) if (!needed.has(id)) this.#rows.delete(id);
  }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index]);
}
