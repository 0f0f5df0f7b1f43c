/** Where the reader was in each view, and what the view held: Back finds it as it was left. */
import { markRow, nameOf, pointedRow, rowNamed } from "./rows";

export interface Place {
  /** How far the page was scrolled. */
  top: number;
  /** A row that was in sight, and how far below the edge of the window it stood. */
  row: string | null;
  below: number;
  /** The row that had the focus, or the keyboard's mark. */
  pointed: string | null;
}

/** What outlives its view; `stop` is called once it is forgotten. */
interface Kept<T> {
  value: T;
  stop?: () => void;
}

interface Entry {
  place: Place | null;
  things: Map<string, Kept<unknown>>;
}

/** Views whose rows are kept: a list may be long. */
const HELD_MAX = 4;
const PLACES_MAX = 100;

export class Places {
  /** By the history's entries; the one that is open is the last. */
  #entries = new Map<string, Entry>();
  #open: Entry = { place: null, things: new Map() };
  #dropped: Entry | null = null;

  /** The entry that is open is about to be replaced in the history: nobody comes back to it. */
  drop(): void {
    this.#dropped = this.#open;
  }

  /** Open the view of an entry of the history. Null: it was never left, or is forgotten. */
  enter(id: string): Place | null {
    for (const [name, entry] of this.#entries) if (entry === this.#dropped) this.#end(name);
    this.#dropped = null;
    this.#open = this.#entries.get(id) ?? { place: null, things: new Map() };
    this.#entries.delete(id);
    this.#entries.set(id, this.#open);
    this.#forget();
    return this.#open.place;
  }

  /** Where the reader was when the open view was left; null where it never was. */
  get left(): Place | null {
    return this.#open.place;
  }

  leave(place: Place): void {
    this.#open.place = place;
  }

  /** What the open view held under this name when it was left, or else what `make` makes. */
  keep<T>(name: string, make: () => Kept<T>): T {
    let kept = this.#open.things.get(name) as Kept<T> | undefined;
    if (!kept) {
      this.#open.things.set(name, (kept = make()));
      this.#forget();
    }
    return kept.value;
  }

  #forget(): void {
    const held = [...this.#entries].filter(([, entry]) => entry.things.size > 0).map(([id]) => id);
    const old = [...held.slice(0, -HELD_MAX), ...[...this.#entries.keys()].slice(0, -PLACES_MAX)];
    for (const id of old) this.#end(id);
  }

  #end(id: string): void {
    for (const kept of this.#entries.get(id)?.things.values() ?? []) kept.stop?.();
    this.#entries.delete(id);
  }
}

export const places = new Places();

/** Where the reader is now. */
export function here(): Place {
  const pointed = pointedRow();
  // Asked of the point and not of every row: rows out of view are not laid out.
  const middle = document.elementFromPoint(innerWidth / 2, innerHeight / 2);
  const row = pointed && inSight(pointed) ? pointed : middle?.closest<HTMLElement>("main [data-row]");
  return {
    top: scrollY,
    row: row ? nameOf(row) : null,
    below: row?.getBoundingClientRect().top ?? 0,
    pointed: pointed && nameOf(pointed),
  };
}

function inSight(row: HTMLElement): boolean {
  const { top, bottom } = row.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}

/** Once the view is drawn again, and before it is seen. */
export function goBackTo(place: Place): void {
  scrollTo(0, place.top);
  const pointed = place.pointed === null ? null : rowNamed(place.pointed);
  if (pointed) markRow(pointed);
  const row = place.row === null ? null : rowNamed(place.row);
  if (!row) return;
  // Parts of a long list that are out of view have a height that is guessed.
  const settle = () => scrollBy(0, row.getBoundingClientRect().top - place.below);
  settle();
  requestAnimationFrame(() => {
    settle();
    requestAnimationFrame(settle);
  });
}

interface State {
  entry: string;
  /** What the view was of from which a link led here, one step back in the history. */
  from: string | null;
}

let made = 0;

/** The history's open entry, which is given a name when it is seen first. */
export function entry(from: string | null): State {
  const known = history.state as Partial<State> | null;
  if (typeof known?.entry === "string") return { entry: known.entry, from: known.from ?? null };
  made += 1;
  // Not one of before a reload, whose names are in the history still.
  const state: State = { entry: `${Math.round(performance.timeOrigin)}.${made}`, from };
  history.replaceState(state, "");
  return state;
}
