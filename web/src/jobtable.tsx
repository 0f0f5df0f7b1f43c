/** The table of jobs used by the overview and the list. */
import { computed, signal, useComputed, useSignal, type Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useContext, useEffect, useMemo, useRef } from "preact/hooks";
import { jobHref } from "./address";
import { Age, Badge, Clock } from "./badge";
import type { JobSummary } from "./contracts";
import { age, count, duration, elapsed, unbroken, visible } from "./format";
import { JobList, later, stretches } from "./joblist";
import { places } from "./places";
import { attemptInColumn, ran, waited, type Spell } from "./row";
import { serverNow, listen, onGap, stats } from "./session";
import { submitCommand } from "./shell";
import { Copy, Text } from "./text";

function spell(of: Spell | null): string {
  if (!of) return "–";
  return unbroken(of.open ? `${elapsed(of.seconds)}…` : duration(of.seconds));
}

function waitTold(job: JobSummary, nowMs: number): string {
  if ((job.state === "retrying" || job.state === "scheduled") && job.scheduledAt) {
    const left = (Date.parse(job.scheduledAt) - nowMs) / 1000;
    // To the second on its own page: more would stand out of the column.
    return left > 0 ? `due in ${age(left)}` : "due now";
  }
  return spell(waited(job, nowMs));
}

// Bound as text: a list of thousands is not rendered anew each second for the few that change.
function Wait({ row }: { row: Signal<JobSummary> }) {
  const clock = useContext(Clock);
  return <>{useComputed(() => waitTold(row.value, clock.value))}</>;
}

function Run({ row }: { row: Signal<JobSummary> }) {
  const clock = useContext(Clock);
  const told = useComputed(() => spell(ran(row.value, clock.value)));
  const fraction = row.value.state === "running" ? row.value.progress?.fraction : null;
  return (
    <>
      {told}
      {typeof fraction === "number" && (
        <progress value={fraction} max={1} aria-label="reported progress" />
      )}
    </>
  );
}

interface RowProps {
  list: JobList;
  id: string;
  selection: Selection | undefined;
}

function Row({ list, id, selection }: RowProps) {
  const row = useMemo(() => list.row(id), [list, id]);
  const job = row.value;
  return (
    <tr data-job={id} data-state={job.state} data-row>
      {selection && (
        <td class="select">
          <input
            type="checkbox"
            checked={selection.value.has(id)}
            aria-label={`Select job ${id}`}
            onChange={() => toggle(selection, id)}
          />
        </td>
      )}
      <td>
        <Badge state={job.state} />
      </td>
      <td>
        <div class="name">
          <a href={jobHref(id)} title={visible(`${job.type} ${id}`)}>
            <Text of={job.type} limit={80} />
          </a>
          {job.error && job.state !== "completed" && (
            <span class="row-error">
              {(job.state === "queued" || job.state === "running") && "before: "}
              <Text of={`${job.error.type}: ${job.error.message}`} limit={120} />
            </span>
          )}
        </div>
      </td>
      <td class="wide">
        <Text of={job.queue} limit={40} />
      </td>
      <td class="number wide">
        {attemptInColumn(job)}
      </td>
      <td class="number">
        <Age of={job.createdAt} />
      </td>
      <td class="number wide">
        <Wait row={row} />
      </td>
      <td class="number">
        <Run row={row} />
      </td>
    </tr>
  );
}

/** The ids that are selected. */
export type Selection = Signal<ReadonlySet<string>>;

export function toggle(selection: Selection, id: string): void {
  const next = new Set(selection.peek());
  if (!next.delete(id)) next.add(id);
  selection.value = next;
}

function SelectAll({ selection, ids }: { selection: Selection; ids: readonly string[] }) {
  const all = ids.length > 0 && ids.every((id) => selection.value.has(id));
  return (
    <th scope="col" class="select">
      <input
        type="checkbox"
        checked={all}
        aria-label="Select every job shown"
        onChange={() => (selection.value = new Set(all ? [] : ids))}
      />
    </th>
  );
}

/**
 * The list of this place in the history, which whoever comes back finds again. What happened to its
 * rows meanwhile was heard; new ones are read once it is in view.
 */
export function useJobList(query: () => string, limit: number): JobList {
  return useMemo(
    () =>
      places.keep("jobs", () => {
        const list = new JobList(query, limit);
        const stops = [listen((events) => list.hear(events)), onGap(() => list.miss())];
        return { value: list, stop: () => stops.forEach((stop) => stop()) };
      }),
    [],
  );
}

interface JobTableProps {
  list: JobList;
  caption: string;
  /** With boxes to tick. */
  selection?: Selection;
}

/** Keeps the list fresh, wires it to what the reader is doing, and shows it. */
export function JobTable({ list, caption, selection }: JobTableProps) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => list.reading.use(), [list]);
  useHold(list, box);
  const rows = useMemo(() => new Map<string, preact.JSX.Element>(), [list]);
  const ids = list.ids.value;
  const shown = new Set(ids);
  for (const id of rows.keys()) if (!shown.has(id)) rows.delete(id);
  for (const id of ids) {
    if (!rows.has(id)) rows.set(id, <Row key={id} list={list} id={id} selection={selection} />);
  }
  const parts = stretches(ids, STRETCH_ROWS);
  const waiting = useWaiting(list);
  return (
    <div class="table-box" ref={box}>
      {parts.map((part, index) => (
        <Stretch key={index} index={index} alone={parts.length === 1} waiting={waiting}>
          <table class="jobs" data-selectable={selection ? "yes" : undefined}>
            <caption class="unseen">
              {index === 0 ? caption : `${caption}, from row ${count(index * STRETCH_ROWS + 1)}`}
            </caption>
            <Head selection={selection} ids={ids} again={index > 0} />
            <tbody>{part.map((id) => rows.get(id)!)}</tbody>
          </table>
        </Stretch>
      ))}
    </div>
  );
}

/**
 * Rows a table. A browser lays a table out as a whole, so that of thousands of rows each text that
 * changes would cost all; of tables that are out of view it lays out none.
 */
const STRETCH_ROWS = 100;

/** Between two stretches that are drawn out of view: the reader's keys and wheel go first. */
const DRAWN_APART_MS = 50;

type Waiting = Signal<readonly number[]>;

/**
 * The stretches that are not drawn yet. Whoever comes back to thousands of rows sees those that were
 * in sight at once, and the others are drawn one by one.
 */
function useWaiting(list: JobList): Waiting {
  const waiting = useMemo<Waiting>(() => {
    const { row = null, pointed = null } = places.left ?? {};
    return signal(later(list.ids.peek(), STRETCH_ROWS, [row, pointed]));
  }, [list]);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const draw = () => {
      waiting.value = waiting.peek().slice(1);
      if (waiting.peek().length) timer = setTimeout(draw, DRAWN_APART_MS);
    };
    if (waiting.peek().length) timer = setTimeout(draw, DRAWN_APART_MS);
    return () => clearTimeout(timer);
  }, [waiting]);
  return waiting;
}

interface StretchProps {
  index: number;
  alone: boolean;
  waiting: Waiting;
  children: ComponentChildren;
}

/** A part of the list. While it is out of view, its clock stands still. */
function Stretch({ index, alone, waiting, children }: StretchProps) {
  const box = useRef<HTMLDivElement>(null);
  const waits = useComputed(() => waiting.value.includes(index)).value;
  const shown = useSignal(true);
  const clock = useMemo(() => {
    let last = 0;
    return computed(() => (shown.value || !last ? (last = serverNow.value) : last));
  }, [shown]);
  useEffect(() => {
    // Alone it is always laid out, and no event tells when it comes to be.
    if (alone) shown.value = true;
  }, [shown, alone]);
  useEffect(() => {
    const stretch = box.current;
    const changed = (event: Event) => {
      shown.value = !(event as ContentVisibilityAutoStateChangeEvent).skipped;
      if (shown.value) waiting.value = waiting.peek().filter((one) => one !== index);
    };
    stretch?.addEventListener("contentvisibilityautostatechange", changed);
    return () => stretch?.removeEventListener("contentvisibilityautostatechange", changed);
  }, [shown, waiting, index]);
  return (
    <Clock.Provider value={clock}>
      <div class="stretch" ref={box} data-waits={waits ? "yes" : undefined}>
        {!waits && children}
      </div>
    </Clock.Provider>
  );
}

interface HeadProps {
  selection: Selection | undefined;
  ids: readonly string[];
  /** Of a stretch below the first: there for those who cannot see, and for the widths. */
  again: boolean;
}

function Head({ selection, ids, again }: HeadProps) {
  return (
    <thead class={again ? "again" : undefined}>
      <tr>
        {selection &&
          (again ? (
            <th scope="col" class="select">
              Selected
            </th>
          ) : (
            <SelectAll selection={selection} ids={ids} />
          ))}
        <th scope="col" class="state">
          State
        </th>
        <th scope="col">Type</th>
        <th scope="col" class="queue wide">
          Queue
        </th>
        <th scope="col" class="attempt number wide">
          Attempt
        </th>
        <th scope="col" class="time number">
          Age
        </th>
        <th scope="col" class="time number wide">
          Wait
        </th>
        <th scope="col" class="time number">
          Run
        </th>
      </tr>
    </thead>
  );
}

/** After the pointer has left: time to reach "12 new – show" before the rows come by themselves. */
const LEAVE_MS = 2000;

/** Rows stay where they are while the pointer or the focus is on them, or the top is out of view. */
function useHold(list: JobList, box: { current: HTMLDivElement | null }): void {
  useEffect(() => {
    const table = box.current;
    if (!table) return undefined;
    let pointed = false;
    // It has the focus already where the reader came back to a row.
    let focused = table.contains(document.activeElement);
    let leaving: ReturnType<typeof setTimeout> | undefined;
    const judge = () => {
      // It is being taken away, focus and all: nobody has looked away from it.
      if (!table.isConnected) return;
      const before = list.held;
      list.held = pointed || focused || table.getBoundingClientRect().top < 0;
      if (before && !list.held && list.waiting.peek().length) list.show();
    };
    const enter = (event: PointerEvent) => {
      // A finger does not rest on what it has tapped.
      pointed = event.pointerType !== "touch";
      clearTimeout(leaving);
      judge();
    };
    const leave = () => {
      clearTimeout(leaving);
      leaving = setTimeout(() => {
        pointed = false;
        focused &&= table.querySelector(":focus-visible") !== null;
        judge();
      }, LEAVE_MS);
    };
    const focusIn = (event: FocusEvent) => {
      focused = event.target instanceof Element && event.target.matches(":focus-visible");
      judge();
    };
    const focusOut = () => {
      focused = false;
      judge();
    };
    table.addEventListener("pointerenter", enter);
    table.addEventListener("pointerleave", leave);
    table.addEventListener("focusin", focusIn);
    table.addEventListener("focusout", focusOut);
    addEventListener("scroll", judge, { passive: true });
    judge();
    return () => {
      list.held = true;
      clearTimeout(leaving);
      table.removeEventListener("pointerenter", enter);
      table.removeEventListener("pointerleave", leave);
      table.removeEventListener("focusin", focusIn);
      table.removeEventListener("focusout", focusOut);
      removeEventListener("scroll", judge);
    };
  }, [list]);
}

/** "12 new – show", in a place that is kept free for it. */
export function NewRows({ list }: { list: JobList }) {
  const waiting = list.waiting.value.length;
  const show = (event: Event) => {
    list.show();
    // They are at the top: scrolled down, nothing would seem to happen.
    const section = (event.currentTarget as Element).closest("section");
    if (section && section.getBoundingClientRect().top < 0) scrollTo(0, 0);
  };
  return (
    <span class="new-rows" role="status">
      {waiting > 0 && (
        <button type="button" onClick={show}>
          {count(waiting)}
          {waiting >= list.limit && "+"} new – show
        </button>
      )}
    </span>
  );
}

export function NoJobs() {
  const known = Object.keys(stats.value.value?.types ?? {})[0];
  const command = submitCommand(known ?? "TYPE");
  return (
    <div class="empty">
      <p>No job yet. Submit one, and it appears here at once:</p>
      <p class="command">
        <code>{command}</code> <Copy text={command} what="the command" />
      </p>
    </div>
  );
}
