/** The one box in which jobs are asked for: `state:failed queue:mail since:2h connection refused`. */
import { EVERYTHING, spanMs, type JobFilter } from "./address";
import type { State } from "./contracts";
import { cut } from "./format";
import { isState, STATES } from "./state";

type TextName = Exclude<keyof JobFilter, "states" | "unknownStates" | "q">;

/** What stands before the colon, and which member it is. */
const NAMES: Record<string, TextName> = {
  type: "type",
  queue: "queue",
  worker: "worker",
  error: "fingerprint",
  correlation: "correlationId",
  parent: "parentId",
  since: "since",
  until: "until",
};

const NAME = "is written whole, in letters, digits and _ . -";

/** What the API takes, and the same in words. */
export const FORMS: Partial<Record<TextName | "q", { form: RegExp; told: string }>> = {
  type: { form: /^[A-Za-z][A-Za-z0-9_.-]{0,127}$/, told: `a type ${NAME}; parts of it are found without type:` },
  queue: { form: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, told: `a queue ${NAME}` },
  worker: {
    form: /^[\x21-\x39\x3b-\x7e]{1,128}:[0-9]{1,10}:[0-9A-Za-z_-]{1,60}$/,
    told: "a worker is host:pid:bootid",
  },
  fingerprint: { form: /^[0-9a-f]{16}$/, told: "a group of failures is 16 of 0-9 and a-f, as Failures links to it" },
  correlationId: { form: /^[\x21-\x7e]{1,128}$/, told: "a correlation id is 1 to 128 visible ASCII characters" },
  parentId: {
    form: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
    told: "a parent is the id of a job",
  },
  q: { form: /^[^\x00-\x1f\x7f]{0,200}$/, told: "text is looked for by at most 200 characters, none of them a control" },
};

export const FILTER_WORDS: readonly { word: string; about: string }[] = [
  { word: "state:", about: `one or more of ${STATES.join(", ")}, separated by commas` },
  { word: "type:", about: "a job type" },
  { word: "queue:", about: "a queue" },
  { word: "worker:", about: "runs or ran there: host:pid:bootid" },
  { word: "error:", about: "the fingerprint of a group of failures" },
  { word: "correlation:", about: "a correlation id" },
  { word: "parent:", about: "made from this job" },
  { word: "since:", about: "accepted from then on: 15m, 2h, 7d or a time" },
  { word: "until:", about: "accepted before then: 15m, 2h, 7d or a time" },
];

export interface Read {
  filter: JobFilter;
  /** What could not be understood, in words. */
  faults: string[];
  /** What is understood, and perhaps not as it was meant. */
  notes: string[];
}

/** A word, and something behind it that does not make it an address: what one types for a field. */
const LIKE_A_FIELD = /^([a-z]+):(?!\/\/)./i;

/** A misspelt field finds nothing, and must not look as if there were nothing to find. */
function noField(word: string): string | null {
  const name = LIKE_A_FIELD.exec(word)?.[1];
  if (name === undefined) return null;
  const fields = FILTER_WORDS.map((one) => one.word.slice(0, -1)).join(", ");
  return `${name} is no field, so ${word} is looked for as text; fields are ${fields}`;
}

export function parseFilter(text: string): Read {
  const filter: JobFilter = { ...EVERYTHING };
  const faults: string[] = [];
  const notes: string[] = [];
  const words: string[] = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const at = word.indexOf(":");
    const name = at < 0 ? "" : word.slice(0, at).toLowerCase();
    const value = unquoted(word.slice(at + 1));
    const named = name === "state" || Object.hasOwn(NAMES, name);
    if (named && !value.replaceAll(",", "")) faults.push(`${name}: says nothing; write a value behind it`);
    else if (name === "state") {
      for (const one of value.split(",").filter(Boolean)) {
        if (isState(one)) filter.states = ordered([...filter.states, one]);
        else faults.push(`${one} is no state; there are ${STATES.join(", ")}`);
      }
    } else if (named) {
      const member = NAMES[name]!;
      const twice = filter[member] ? `${name}: stands there twice; one is possible` : null;
      const fault = twice ?? timeFault(member, value) ?? formFault(member, value, `${name}:${value}`);
      if (fault) faults.push(fault);
      else filter[member] = value;
    } else {
      words.push(word);
      const note = noField(word);
      if (note) notes.push(note);
    }
  }
  filter.q = words.join(" ");
  const fault = formFault("q", filter.q, filter.q);
  if (fault) faults.push(fault);
  return { filter, faults, notes };
}

/** Quotes are what one types around a value; no name has any. */
function unquoted(value: string): string {
  return /^(["'])(.*)\1$/.exec(value)?.[2] ?? value;
}

function formFault(member: TextName | "q", value: string, word: string): string | null {
  const known = FORMS[member];
  return !known || known.form.test(value) ? null : `${cut(word, 60)} finds nothing: ${known.told}`;
}

function timeFault(member: TextName, value: string): string | null {
  if (member !== "since" && member !== "until") return null;
  const known = spanMs(value) !== null || /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/.test(value);
  return known ? null : `${member}:${value} is no time; write 15m, 2h, 7d or 2026-01-31T12:00:00Z`;
}

function ordered(states: State[]): State[] {
  return STATES.filter((one) => states.includes(one));
}

/** The filter as one would type it. */
export function writeFilter(filter: JobFilter): string {
  const words: string[] = [];
  const states = [...filter.states, ...filter.unknownStates];
  if (states.length) words.push(`state:${states.join(",")}`);
  for (const [word, member] of Object.entries(NAMES)) {
    if (filter[member]) words.push(`${word}:${filter[member]}`);
  }
  if (filter.q) words.push(filter.q);
  return words.join(" ");
}

export interface Completion {
  /** What stands in the box when it is taken. */
  text: string;
  shown: string;
  about: string;
}

export interface Known {
  types: readonly string[];
  queues: readonly string[];
  workers: readonly string[];
}

const COMPLETIONS_MAX = 8;

/** What may follow, for the word that is being typed at the end. */
export function completions(text: string, known: Known): Completion[] {
  const begin = text.search(/\S*$/);
  const word = text.slice(begin);
  const before = text.slice(0, begin);
  const at = word.indexOf(":");
  if (at < 0) {
    const typed = word.toLowerCase();
    return FILTER_WORDS.filter((one) => typed && one.word.startsWith(typed)).map((one) => ({
      text: before + one.word,
      shown: one.word,
      about: one.about,
    }));
  }
  const name = word.slice(0, at + 1).toLowerCase();
  const values: readonly string[] =
    name === "state:"
      ? STATES
      : name === "type:"
        ? known.types
        : name === "queue:"
          ? known.queues
          : name === "worker:"
            ? known.workers
            : name === "since:" || name === "until:"
              ? ["15m", "1h", "24h", "7d"]
              : [];
  const last = word.slice(at + 1).lastIndexOf(",");
  const head = name === "state:" && last >= 0 ? word.slice(0, at + 2 + last) : name;
  const typed = word.slice(head.length).toLowerCase();
  return values
    .filter((one) => one.toLowerCase().includes(typed) && one !== typed)
    .sort((a, b) => Number(!a.toLowerCase().startsWith(typed)) - Number(!b.toLowerCase().startsWith(typed)))
    .slice(0, COMPLETIONS_MAX)
    .map((one) => ({ text: `${before}${head}${one} `, shown: one, about: "" }));
}
