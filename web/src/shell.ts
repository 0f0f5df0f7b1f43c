/** The same as a button does, as lines for a shell: of the command line, and of curl. */
import { key, url } from "./api";
import type { Target } from "./bulk";
import type { BulkAction } from "./contracts";
import { shellQuoted } from "./format";

export interface Call {
  line: string;
  curl: string;
}

/** The command line asks 127.0.0.1:8080 unless told. */
function urlOption(): string {
  const base = document.baseURI.replace(/[#?].*$/, "").replace(/\/$/, "");
  return base === "http://127.0.0.1:8080" ? "" : ` --url ${shellQuoted(base)}`;
}

export function submitCommand(type: string): string {
  return `observatory submit ${shellQuoted(type)} name=value${urlOption()}`;
}

/** `body` is JSON as text; without it and with `post` the request has none. */
function curl(path: string, post: boolean, body?: string): string {
  const parts = ["curl -sS"];
  if (post && body === undefined) parts.push("-X POST");
  // Named and not spelt out: what is copied ends up in histories.
  if (key.value) parts.push(`-H "Authorization: Bearer $OBSERVATORY_API_KEY"`);
  if (body !== undefined) parts.push(`-H "Content-Type: application/json" -d ${shellQuoted(body)}`);
  return [...parts, shellQuoted(url(path))].join(" ");
}

function option(name: string, value: string): string {
  // What begins with a dash would be taken for an option of its own.
  return value.startsWith("-") ? ` --${name}=${shellQuoted(value)}` : ` --${name} ${shellQuoted(value)}`;
}

/** `payload` is JSON as text, whose numbers stay what they are. */
export function jobCall(verb: "retry" | "cancel" | "show", id: string, payload?: string): Call {
  const other = payload === undefined ? "" : option("payload", payload);
  const path = `jobs/${encodeURIComponent(id)}${verb === "show" ? "" : `/${verb}`}`;
  return {
    line: `observatory jobs ${verb} ${shellQuoted(id)}${other}${urlOption()}`,
    curl: curl(path, verb !== "show", payload === undefined ? undefined : `{"payload": ${payload}}`),
  };
}

export function queueCall(verb: "pause" | "resume", name: string): Call {
  return {
    line: `observatory queues ${verb} ${shellQuoted(name)}${urlOption()}`,
    curl: curl(`queues/${encodeURIComponent(name)}/${verb}`, true),
  };
}

export function bulkCall(action: BulkAction, target: Target): Call {
  return {
    line: "ids" in target ? eachOf(action, target.ids) : allOf(action, target.filter),
    curl: curl("jobs/actions", true, JSON.stringify({ action, ...target })),
  };
}

function eachOf(action: BulkAction, ids: readonly string[]): string {
  const named = ids.map(shellQuoted).join(" ");
  return `for id in ${named}; do observatory jobs ${action} "$id"${urlOption()}; done`;
}

function allOf(action: BulkAction, filter: Record<string, string | string[]>): string {
  const options = Object.entries(filter).flatMap(([member, value]) => {
    const name = member.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return [value].flat().map((one) => option(name, one));
  });
  return `observatory jobs ${action}-all${options.join("") || " --all"}${urlOption()}`;
}
