/** The list of jobs. The whole filter is in the address. */
import { signal } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import {
  apiQuery,
  filterMembers,
  filterQuery,
  jobHref,
  jobsHref,
  type JobFilter,
} from "./address";
import { Badge } from "./badge";
import { BulkButtons } from "./bulkbar";
import type { State } from "./contracts";
import { parseFilter, writeFilter } from "./filter";
import { FilterBox } from "./filterbox";
import { count } from "./format";
import type { JobList } from "./joblist";
import { JobTable, NewRows, NoJobs, toggle, useJobList, type Selection } from "./jobtable";
import { bind, declare } from "./keyboard";
import { places } from "./places";
import { pointedRow } from "./rows";
import { serverNow, stats, workers } from "./session";
import { STATES } from "./state";
import { Unread } from "./unread";

const ROWS_A_PAGE = 100;
/** One call names no more jobs than that. */
const SELECTED_MAX = 200;

const TO_FILTER = declare("Jobs", "/", "filter");
const SELECT = declare("Jobs", "x", "select the job in the row, or no longer");

interface FilterProps {
  filter: JobFilter;
  onFaults: (faulty: boolean) => void;
}

function Filter({ filter, onFaults }: FilterProps) {
  const box = useRef<HTMLInputElement>(null);
  useLayoutEffect(
    () => bind([{ ...TO_FILTER, run: () => (box.current?.focus(), box.current?.select()) }]),
    [],
  );
  const go = (next: JobFilter, again = false) => {
    if (!again) location.hash = jobsHref(next);
    else {
      places.drop();
      location.replace(jobsHref(next));
    }
  };
  const flip = (state: State) => {
    const states = filter.states.includes(state)
      ? filter.states.filter((one) => one !== state)
      : STATES.filter((one) => one === state || filter.states.includes(one));
    go({ ...filter, states, unknownStates: [] });
  };
  const read = stats.value.value;
  const known = {
    types: Object.keys(read?.types ?? {}),
    queues: Object.keys(read?.queues ?? {}),
    workers: (workers.value.value?.items ?? []).map((one) => one.id),
  };
  return (
    <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
      <FilterBox filter={filter} known={known} onChange={go} onFaults={onFaults} box={box} />
      {filterQuery(filter) && (
        <a class="button" href="#/jobs">
          Clear filter
        </a>
      )}
      <fieldset>
        <legend>State</legend>
        {STATES.map((state) => (
          <label class="choice" key={state}>
            <input
              type="checkbox"
              name="state"
              value={state}
              checked={filter.states.includes(state)}
              onChange={() => flip(state)}
            />
            <Badge state={state} />
            <span class="faint">{count(read?.states[state])}</span>
          </label>
        ))}
      </fieldset>
    </form>
  );
}

interface ActionsProps {
  list: JobList;
  filter: JobFilter;
  filtered: boolean;
  /** The box holds something else than what is listed. */
  faulty: boolean;
  selection: Selection;
}

/** On what is selected, or else on all that the filter leaves. */
function Actions({ list, filter, filtered, faulty, selection }: ActionsProps) {
  // Of those that are shown: what left the list is not meant any more.
  const chosen = list.ids.value.filter((id) => selection.value.has(id));
  const after = () => {
    selection.value = new Set();
    list.reading.want();
  };
  if (chosen.length > SELECTED_MAX) {
    return <p class="warning">{`Select at most ${SELECTED_MAX} jobs, or act on all of a filter.`}</p>;
  }
  if (chosen.length) {
    return (
      <BulkButtons
        what={`${count(chosen.length)} selected`}
        named={`${count(chosen.length)} selected`}
        target={() => ({ ids: chosen })}
        after={after}
      />
    );
  }
  return (
    <BulkButtons
      what={filtered ? "all of this filter" : "all"}
      named={filtered ? writeFilter(filter) : "no filter: every job"}
      {...(faulty && { off: "The filter is not understood" })}
      target={() => ({ filter: filterMembers(filter, serverNow.peek()) })}
      after={after}
    />
  );
}

interface ListingProps {
  filter: JobFilter;
  filtered: boolean;
  faulty: boolean;
}

function Listing({ filter, filtered, faulty }: ListingProps) {
  const list = useJobList(() => apiQuery(filter, serverNow.peek()), ROWS_A_PAGE);
  const selection = useMemo<Selection>(
    () => places.keep("selection", () => ({ value: signal<ReadonlySet<string>>(new Set()) })),
    [],
  );
  useLayoutEffect(
    () =>
      bind([
        {
          ...SELECT,
          run: () => {
            const id = pointedRow()?.dataset["job"];
            if (id) toggle(selection, id);
          },
        },
      ]),
    [],
  );
  const read = list.reading.value.value;
  const error = list.reading.error.value;
  const shown = list.ids.value.length;
  const more = list.more.value;
  return (
    <section aria-label="Jobs" data-selected={selection.value.size > 0 ? "yes" : undefined}>
      <div class="heading">
        <span class="faint">{shown > 0 && `${count(shown)} shown, newest first`}</span>
        {(shown > 0 || selection.value.size > 0) && (
          <Actions list={list} filter={filter} filtered={filtered} faulty={faulty} selection={selection} />
        )}
      </div>
      {error && read && <p class="warning">Not read again: {error.message}</p>}
      {!read && <Unread error={error} />}
      {read &&
        !shown &&
        (list.next.value !== null ? (
          <p class="empty">None among the newest jobs; older ones were not looked into yet.</p>
        ) : filtered ? (
          <p class="empty">
            No job matches. <a href="#/jobs">Clear the filter</a>
          </p>
        ) : (
          <NoJobs />
        ))}
      <div hidden={!shown && list.next.value === null}>
        <div hidden={!shown}>
          <JobTable list={list} caption="Jobs, newest first" selection={selection} />
          <NewRows list={list} />
        </div>
        <p class="more">
          {list.next.value === null && "That is all."}
          {list.next.value !== null && (
            <button
              type="button"
              disabled={more === "loading"}
              onClick={() => void list.loadMore()}
            >
              {more === "loading" ? "Loading…" : shown ? "Load more" : "Look further"}
            </button>
          )}
          {more instanceof Error && <span class="warning"> {more.message}</span>}
        </p>
      </div>
    </section>
  );
}

/** A job's id is looked for in texts, as any other; but the job that has it is known at once. */
function JobOfId({ text }: { text: string }) {
  const id = text.trim().toLowerCase();
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) return null;
  return (
    <p>
      <a href={jobHref(id)}>Open the job of this id</a>
    </p>
  );
}

export function Jobs({ filter }: { filter: JobFilter }) {
  const query = filterQuery(filter);
  const [faulty, setFaulty] = useState(false);
  // An address with a fault must not come to list something else.
  const listed = !parseFilter(writeFilter(filter)).faults.length;
  return (
    <>
      <h1>Jobs</h1>
      <Filter filter={filter} onFaults={setFaulty} />
      <JobOfId text={filter.q} />
      {listed ? (
        <Listing key={query} filter={filter} filtered={query !== ""} faulty={faulty} />
      ) : (
        <p class="empty">Nothing is listed while the filter is not understood.</p>
      )}
    </>
  );
}
