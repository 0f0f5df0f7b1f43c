/** The list of jobs. The whole filter is in the address. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { filterQuery, jobsHref, type JobFilter } from "./address";
import { Badge } from "./badge";
import type { State } from "./contracts";
import { count } from "./format";
import { JobList } from "./joblist";
import { JobTable, NewRows } from "./jobtable";
import { NoJobs, Unread } from "./overview";
import { stats } from "./session";
import { STATES } from "./state";

/** The address follows the typing after this pause. */
const TYPING_MS = 300;

function Filter({ filter }: { filter: JobFilter }) {
  const [typed, setTyped] = useState(filter);
  const given = filterQuery(filter);
  const wrote = useRef(given);
  useEffect(() => {
    // The address was changed by a link or the back button, not here.
    if (given !== wrote.current) {
      wrote.current = given;
      setTyped(filter);
    }
  }, [given]);
  useEffect(() => {
    const wanted = filterQuery(typed);
    if (wanted === wrote.current) return undefined;
    const timer = setTimeout(() => {
      wrote.current = wanted;
      location.replace(jobsHref(typed));
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const toggle = (state: State) => {
    const states = typed.states.includes(state)
      ? typed.states.filter((one) => one !== state)
      : STATES.filter((one) => one === state || typed.states.includes(one));
    setTyped({ ...typed, states });
  };
  const read = stats.value.value;
  const field = (name: "type" | "queue" | "q", label: string, known: string[], hint: string) => (
    <label class="field">
      <span>{label}</span>
      <input
        name={name}
        value={typed[name]}
        list={known.length ? `known-${name}` : undefined}
        placeholder={hint}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setTyped({ ...typed, [name]: event.currentTarget.value })}
      />
      {known.length > 0 && (
        <datalist id={`known-${name}`}>
          {known.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
    </label>
  );
  return (
    <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
      <fieldset>
        <legend>State</legend>
        {STATES.map((state) => (
          <label class="choice" key={state}>
            <input
              type="checkbox"
              name="state"
              value={state}
              checked={typed.states.includes(state)}
              onChange={() => toggle(state)}
            />
            <Badge state={state} />
            <span class="faint">{count(read?.states[state])}</span>
          </label>
        ))}
      </fieldset>
      {field("type", "Type", Object.keys(read?.types ?? {}), "email.send")}
      {field("queue", "Queue", Object.keys(read?.queues ?? {}), "default")}
      {field("q", "Search", [], "id, type, error …")}
      {given && (
        <a class="button" href="#/jobs">
          Clear filter
        </a>
      )}
    </form>
  );
}

function Listing({ query, filtered }: { query: string; filtered: boolean }) {
  const list = useMemo(() => new JobList(query, 50), [query]);
  const read = list.reading.value.value;
  const error = list.reading.error.value;
  const shown = list.ids.value.length;
  const more = list.more.value;
  return (
    <section aria-label="Jobs">
      <div class="heading">
        <span class="faint">{shown > 0 && `${count(shown)} shown, newest first`}</span>
        <NewRows list={list} />
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
          <JobTable list={list} caption="Jobs, newest first" />
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

export function Jobs({ filter }: { filter: JobFilter }) {
  const query = filterQuery(filter);
  return (
    <>
      <h1>Jobs</h1>
      <Filter filter={filter} />
      <Listing key={query} query={query} filtered={query !== ""} />
    </>
  );
}
