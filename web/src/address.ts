/** What the address after # means. All of a view's state is in it. */
import type { State } from "./contracts";
import { STATES } from "./state";

export interface JobFilter {
  states: State[];
  /** Names in the address that no state has: they must not come to mean every state. */
  unknownStates: string[];
  type: string;
  queue: string;
  worker: string;
  /** Of a group of failures. */
  fingerprint: string;
  correlationId: string;
  parentId: string;
  /** RFC 3339, or a span back from now such as 2h. */
  since: string;
  until: string;
  q: string;
}

const TEXTS = [
  "type",
  "queue",
  "worker",
  "fingerprint",
  "correlationId",
  "parentId",
  "since",
  "until",
  "q",
] as const satisfies (keyof JobFilter)[];

/** The views that have no state of their own. */
export const PLAIN_VIEWS = ["failures", "workers", "system"] as const;
export type PlainView = (typeof PLAIN_VIEWS)[number];

export type Address =
  | { view: "overview" }
  | { view: PlainView }
  | { view: "jobs"; filter: JobFilter }
  | { view: "job"; id: string; attempt: number | null }
  /** All of them; the one that is named is pointed at. */
  | { view: "queues"; queue: string }
  | { view: "events"; type: string; subject: string }
  | { view: "contracts"; path: string | null }
  | { view: "unknown"; text: string };

export const EVERYTHING: JobFilter = {
  states: [],
  unknownStates: [],
  type: "",
  queue: "",
  worker: "",
  fingerprint: "",
  correlationId: "",
  parentId: "",
  since: "",
  until: "",
  q: "",
};

export function readAddress(hash: string): Address {
  const text = hash.replace(/^#/, "");
  const [path = "", query = ""] = split(text, "?");
  const names = path.split("/").filter(Boolean);
  const asked = new URLSearchParams(query);
  const [first, second] = names;
  if (first === undefined) return { view: "overview" };
  if (first === "jobs" && names.length === 1) return { view: "jobs", filter: readFilter(asked) };
  if (first === "jobs" && names.length === 2) {
    const attempt = Number(asked.get("attempt") ?? Number.NaN);
    const id = decoded(second!);
    return { view: "job", id, attempt: Number.isInteger(attempt) ? attempt : null };
  }
  if (first === "queues" && names.length === 1) return { view: "queues", queue: asked.get("queue") ?? "" };
  if (first === "events" && names.length === 1) {
    return { view: "events", type: asked.get("type") ?? "", subject: asked.get("subject") ?? "" };
  }
  if (first === "contracts") {
    return { view: "contracts", path: names.length > 1 ? names.slice(1).map(decoded).join("/") : null };
  }
  const plain = PLAIN_VIEWS.find((one) => one === first);
  if (plain && names.length === 1) return { view: plain };
  return { view: "unknown", text };
}

function readFilter(asked: URLSearchParams): JobFilter {
  const states = asked.getAll("state").flatMap((value) => value.split(",")).filter(Boolean);
  const texts = Object.fromEntries(TEXTS.map((name) => [name, asked.get(name) ?? ""]));
  return {
    ...EVERYTHING,
    ...texts,
    states: STATES.filter((one) => states.includes(one)),
    unknownStates: states.filter((one) => !STATES.includes(one as State)),
  };
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

/** The filter as it stands in the page's address. */
export function filterQuery(filter: Partial<JobFilter>): string {
  const query = new URLSearchParams();
  const states = [...(filter.states ?? []), ...(filter.unknownStates ?? [])];
  if (states.length) query.set("state", states.join(","));
  for (const name of TEXTS) if (filter[name]) query.set(name, filter[name]);
  return query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
}

/** The filter as members of the API's: of `GET /jobs` and of `POST /jobs/actions`. */
export function filterMembers(filter: JobFilter, nowMs: number): Record<string, string | string[]> {
  const members: Record<string, string | string[]> = {};
  if (filter.states.length) members["state"] = filter.states;
  for (const name of TEXTS) if (filter[name]) members[name] = filter[name];
  for (const name of ["since", "until"] as const) {
    const back = spanMs(filter[name]);
    if (back !== null) members[name] = new Date(nowMs - back).toISOString();
  }
  return members;
}

/** The filter as the query of `GET /jobs`. */
export function apiQuery(filter: JobFilter, nowMs: number): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filterMembers(filter, nowMs))) {
    query.set(name, typeof value === "string" ? value : value.join(","));
  }
  return query.toString();
}

const UNIT_MS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 };

/** "90s", "15m", "2h", "7d" in milliseconds; null for anything else. */
export function spanMs(text: string): number | null {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  return match ? Number(match[1]) * UNIT_MS[match[2]!]! : null;
}

export function jobsHref(filter: Partial<JobFilter>): string {
  const query = filterQuery(filter);
  return query ? `#/jobs?${query}` : "#/jobs";
}

export function jobHref(id: string, attempt?: number): string {
  const at = attempt === undefined ? "" : `?attempt=${attempt}`;
  return `#/jobs/${encodeURIComponent(id)}${at}`;
}

export function queueHref(name: string): string {
  return `#/queues?${new URLSearchParams({ queue: name })}`;
}

export function eventsHref(asked: { type?: string; subject?: string }): string {
  const query = new URLSearchParams();
  if (asked.type) query.set("type", asked.type);
  if (asked.subject) query.set("subject", asked.subject);
  return query.size ? `#/events?${query}` : "#/events";
}

export function contractHref(path: string): string {
  return `#/contracts/${path.split("/").map(encodeURIComponent).join("/")}`;
}
