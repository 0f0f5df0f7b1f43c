/** What the address after # means. All of a view's state is in it. */
import type { State } from "./contracts";
import { isState } from "./state";

export interface JobFilter {
  states: State[];
  type: string;
  queue: string;
  q: string;
}

export type Address =
  | { view: "overview" }
  | { view: "jobs"; filter: JobFilter }
  | { view: "job"; id: string; attempt: number | null }
  | { view: "unknown"; text: string };

export const EVERYTHING: JobFilter = { states: [], type: "", queue: "", q: "" };

export function readAddress(hash: string): Address {
  const text = hash.replace(/^#/, "");
  const [path = "", query = ""] = split(text, "?");
  const names = path.split("/").filter(Boolean);
  const asked = new URLSearchParams(query);
  if (names.length === 0) return { view: "overview" };
  if (names[0] === "jobs" && names.length === 1) {
    const states = asked.getAll("state").flatMap((value) => value.split(","));
    return {
      view: "jobs",
      filter: {
        states: [...new Set(states.filter(isState))],
        type: asked.get("type") ?? "",
        queue: asked.get("queue") ?? "",
        q: asked.get("q") ?? "",
      },
    };
  }
  if (names[0] === "jobs" && names.length === 2) {
    const attempt = Number(asked.get("attempt") ?? Number.NaN);
    const id = decoded(names[1]!);
    return { view: "job", id, attempt: Number.isInteger(attempt) ? attempt : null };
  }
  return { view: "unknown", text };
}

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The filter as the API's query; also what stands in the page's address. */
export function filterQuery(filter: Partial<JobFilter>): string {
  const query = new URLSearchParams();
  if (filter.states?.length) query.set("state", filter.states.join(","));
  if (filter.type) query.set("type", filter.type);
  if (filter.queue) query.set("queue", filter.queue);
  if (filter.q) query.set("q", filter.q);
  return query.toString().replaceAll("%2C", ",");
}

export function jobsHref(filter: Partial<JobFilter>): string {
  const query = filterQuery(filter);
  return query ? `#/jobs?${query}` : "#/jobs";
}

export function jobHref(id: string, attempt?: number): string {
  const at = attempt === undefined ? "" : `?attempt=${attempt}`;
  return `#/jobs/${encodeURIComponent(id)}${at}`;
}
