/** Requests to the API the page was served by. The one place that knows about keys and problems. */
import { signal } from "@preact/signals";
import type { Job, Problem } from "./contracts";

const KEY_NAME = "observatory.key";
const PATIENCE_MS = 15_000;

/** The key the reader typed; lives as long as the tab. */
export const key = signal<string | null>(storedKey());
/** Set when the API answered 401 or 403: what it said. */
export const refusal = signal<{ status: number; text: string } | null>(null);

/** How far the server's clock is ahead of the reader's, when it matters (more than two seconds). */
export const clockAheadMs = signal(0);

/** Why this cannot be a key; null where it can. No request could carry it in its headers. */
export function keyFault(typed: string): string | null {
  return /^[!-~]+$/.test(typed) ? null : "A key has only ASCII letters, digits and signs.";
}

function storedKey(): string | null {
  try {
    const stored = sessionStorage.getItem(KEY_NAME);
    return stored !== null && keyFault(stored) === null ? stored : null;
  } catch {
    return null;
  }
}

export function useKey(typed: string): void {
  key.value = typed || null;
  refusal.value = null;
  try {
    if (typed) sessionStorage.setItem(KEY_NAME, typed);
    else sessionStorage.removeItem(KEY_NAME);
  } catch {
    // No storage: the key lives in this page only.
  }
}

/** The API answered, with an error. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    super(describe(status, problem));
  }
}

/** The API did not answer, or not in time. */
export class Unreachable extends Error {}

function describe(status: number, problem: Partial<Problem>): string {
  const faults = (problem.errors ?? [])
    // The detail of a problem with one fault often is that fault.
    .filter((fault) => !problem.detail?.includes(fault.detail))
    .map((fault) => `${fault.pointer} ${fault.detail}`);
  const told = [problem.detail ?? "", ...faults].filter(Boolean).join("; ");
  return `${problem.title ?? "the server answered"} (${status})${told ? `: ${told}` : ""}`;
}

/** Relative to the page, so that a sub-path of a proxy works. */
export function url(path: string): string {
  return new URL(path.replace(/^\//, ""), document.baseURI.replace(/#.*$/, "")).href;
}

export function authorization(): Record<string, string> {
  return key.value ? { Authorization: `Bearer ${key.value}` } : {};
}

async function ask(method: string, path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url(path), {
      method,
      cache: "no-store",
      credentials: "same-origin",
      ...init,
      headers: { Accept: "application/json", ...authorization(), ...init.headers },
      signal: init.signal ?? AbortSignal.timeout(PATIENCE_MS),
    });
  } catch (reason) {
    const late = reason instanceof DOMException && reason.name === "TimeoutError";
    throw new Unreachable(late ? "no answer in time" : "no connection");
  }
  if (response.ok) {
    noticeClock(response.headers.get("date"));
    return response;
  }
  throw await answered(response);
}

async function answered(response: Response): Promise<ApiError> {
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem> | null;
  const error = new ApiError(response.status, problem ?? {});
  noticeRefusal(response.status, error.message);
  return error;
}

/** Also told by the live stream, which makes its own requests. */
export function noticeRefusal(status: number, text: string): void {
  if (status === 401 || status === 403) refusal.value = { status, text };
}

function noticeClock(date: string | null): void {
  const server = date ? Date.parse(date) : Number.NaN;
  if (Number.isNaN(server)) return;
  const ahead = server + 500 - Date.now();
  // The header counts in seconds: a smaller difference cannot be told from none.
  clockAheadMs.value = Math.abs(ahead) > 2000 ? ahead : 0;
}

async function body(response: Response): Promise<string> {
  try {
    return await response.text();
  } catch {
    throw new Unreachable("the connection broke off");
  }
}

function parsed<T>(text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new Unreachable("something that is not the API answered");
  }
}

export async function get<T>(path: string): Promise<T> {
  return parsed<T>(await body(await ask("GET", path)));
}

/** `sent` is put into JSON here. */
export function post<T>(path: string, sent?: unknown, patienceMs = PATIENCE_MS): Promise<T> {
  return postText<T>(path, sent === undefined ? undefined : JSON.stringify(sent), patienceMs);
}

/** JSON that stands as text, whose numbers must stay what they are. */
export async function postText<T>(
  path: string,
  text?: string,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  const init: RequestInit = { signal: AbortSignal.timeout(patienceMs) };
  if (text !== undefined) {
    init.body = text;
    init.headers = { "Content-Type": "application/json" };
  }
  return parsed<T>(await body(await ask("POST", path, init)));
}

/** A job with its payload and result exactly as written: 9007199254740993 stays what it is. */
export async function getJob(id: string): Promise<Job> {
  const text = await body(await ask("GET", `jobs/${encodeURIComponent(id)}`));
  const job = parsed<Job>(text);
  if ("rawJSON" in JSON) {
    const exact = JSON.parse(text, keepDigits as (name: string, value: unknown) => unknown) as Job;
    return { ...job, payload: exact.payload, result: exact.result };
  }
  return job;
}

function keepDigits(_name: string, value: unknown, context?: { source?: string }): unknown {
  const source = context?.source;
  if (typeof value !== "number" || source === undefined || String(value) === source) return value;
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(source);
}
