/** Keys, each declared once: what it does, where, and in which words the help tells it. */
import { signal } from "@preact/signals";

/** Where keys work, in the order in which the help tells them. */
export const PLACES = ["Everywhere", "In a list", "Jobs", "A job", "Events", "Questions and fields"] as const;
export type Place = (typeof PLACES)[number];

/** A key as the help tells it, whatever view is open. */
export interface Told {
  place: Place;
  /** As `KeyboardEvent.key`, or two in a row: "g j". */
  keys: string;
  about: string;
}

export interface Key extends Told {
  run: () => void;
  /** False: the key does nothing now. */
  when?: () => boolean;
}

const told: (Told & { handled: boolean })[] = [];

/** Name a key when the page is loaded, so that the help of every view tells it; `bind` it later. */
export function declare(place: Place, keys: string, about: string): Told {
  return tell({ place, keys, about }, false);
}

/** One that is handled where it is typed, and never bound. */
export function declareHandled(place: Place, keys: string, about: string): void {
  tell({ place, keys, about }, true);
}

function tell(one: Told, handled: boolean): Told {
  told.push({ ...one, handled });
  return one;
}

/** All there are, by place, and whether they do something now. */
export function help(): { place: Place; keys: (Told & { on: boolean })[] }[] {
  const now = allKeys().filter((one) => !one.when || one.when());
  const on = (key: Told) => now.some((one) => one.keys === key.keys && one.place === key.place);
  return PLACES.map((place) => ({
    place,
    keys: told
      .filter((one) => one.place === place)
      .map((one) => ({ ...one, on: one.handled || on(one) })),
  })).filter((one) => one.keys.length > 0);
}

const bound = signal<readonly (readonly Key[])[]>([]);
export const helpOpen = signal(false);

const FOLLOWS_WITHIN_MS = 1200;

/** Add keys until the returned function is called; the newest go first. */
export function bind(keys: readonly Key[]): () => void {
  bound.value = [keys, ...bound.peek()];
  return () => {
    bound.value = bound.peek().filter((one) => one !== keys);
  };
}

/** Every key that is bound, the newest first, one of a kind. */
export function allKeys(): Key[] {
  const seen = new Set<string>();
  return bound.value.flat().filter((one) => !seen.has(one.keys) && seen.add(one.keys));
}

let first: { key: string; at: number } | null = null;

/** Handles one key press; true where it was one of ours. */
export function press(key: string, nowMs: number): boolean {
  const pair = first && nowMs - first.at < FOLLOWS_WITHIN_MS ? `${first.key} ${key}` : "";
  first = null;
  const keys = allKeys();
  const meant = keys.find((one) => one.keys === pair) ?? keys.find((one) => one.keys === key);
  if (meant) {
    if (meant.when && !meant.when()) return false;
    meant.run();
    return true;
  }
  if (keys.some((one) => one.keys.startsWith(`${key} `))) {
    first = { key, at: nowMs };
    return true;
  }
  return false;
}

/** Keys typed into a field, or meant for the browser, are not ours. */
function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
    (target as HTMLInputElement).type !== "checkbox"
  );
}

export function listenToKeys(): void {
  addEventListener("keydown", (event) => {
    // A key that is held moves on, and does nothing twice.
    if (event.repeat && !/^[jk]$/.test(event.key)) return;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    // A dialog has the keys for itself.
    if (document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (isTyping(target)) {
      if (event.key === "Escape") (target as HTMLElement).blur();
      return;
    }
    // Buttons, links and summaries take these by themselves.
    const control = target instanceof Element && target.closest("button, a, summary, input");
    if (control && (event.key === "Enter" || event.key === " ")) return;
    if (press(event.key, Date.now())) event.preventDefault();
  });
}
