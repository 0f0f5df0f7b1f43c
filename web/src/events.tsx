/** The events as they happen, with a filter and a way to hold them still. */
import { useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";
import { eventsHref, jobHref } from "./address";
import type { CloudEvent } from "./contracts";
import { clock, count, moment, visible } from "./format";
import { bind, declare } from "./keyboard";
import { listen, live, onGap } from "./session";
import { EVENT_TYPES, KEPT, Tail } from "./tail";
import { Block, Text } from "./text";
import { Again, Unread } from "./unread";

const OFFERED = ["job.", "worker.", "queue.", ...EVENT_TYPES];

const FREEZE = declare("Events", " ", "hold the events still, or let them go on");

export function Events({ type, subject }: { type: string; subject: string }) {
  const tail = useMemo(() => new Tail({ type, subject }), [type, subject]);
  const frozen = tail.frozen.value;
  useEffect(() => {
    const stops = [listen((events) => tail.hear(events)), onGap(() => void tail.begin())];
    return () => stops.forEach((stop) => stop());
  }, [tail]);
  const phase = live.connection.value.phase;
  useEffect(() => {
    if (phase === "live" || !tail.read.peek()) void tail.begin();
  }, [tail, phase]);
  useLayoutEffect(
    () =>
      bind([
        { ...FREEZE, run: () => tail.freeze(!tail.frozen.peek()) },
      ]),
    [tail],
  );
  const shown = tail.shown.value;
  const waiting = tail.waiting.value;
  return (
    <>
      <div class="heading">
        <h1>Events</h1>
        <button type="button" aria-pressed={frozen} onClick={() => tail.freeze(!frozen)}>
          {frozen ? "Go on" : "Freeze"}
        </button>
        <span role="status" class="faint">
          {frozen && `Held still. ${count(waiting)} came meanwhile.`}
        </span>
      </div>
      <EventFilter type={type} subject={subject} />
      <Again error={tail.error.value} read={shown.length > 0} />
      {!shown.length && !tail.read.value && <Unread error={tail.error.value} />}
      {!shown.length && tail.read.value && (
        <p class="empty">
          {tail.error.value
            ? `Not read: ${tail.error.value.message}`
            : tail.further.value
              ? "None among the newest events; older ones were not looked into yet."
              : "No such event yet. It appears here as it happens."}
        </p>
      )}
      {shown.length > 0 && (
        <ol class="tail" data-frozen={frozen ? "yes" : undefined}>
          {shown.map((event) => (
            <EventLine key={event.id} event={event} />
          ))}
        </ol>
      )}
      {shown.length >= KEPT ? (
        <p class="note">The newest {KEPT}; older ones are in the log and with their jobs.</p>
      ) : (
        // What is found would come under the reader, who holds the list still.
        tail.further.value &&
        !frozen && (
          <p class="more">
            <button type="button" disabled={tail.looking.value} onClick={() => void tail.lookFurther()}>
              {tail.looking.value ? "Looking…" : "Look further"}
            </button>
          </p>
        )
      )}
    </>
  );
}

function EventFilter({ type, subject }: { type: string; subject: string }) {
  const [typed, setTyped] = useState({ type, subject });
  useEffect(() => setTyped({ type, subject }), [type, subject]);
  const go = (event: Event) => {
    event.preventDefault();
    location.hash = eventsHref({ type: typed.type.trim(), subject: typed.subject.trim() });
  };
  return (
    <form class="filter" role="search" onSubmit={go}>
      <label class="field">
        <span>Type, or its beginning</span>
        <input
          name="type"
          list="event-types"
          value={typed.type}
          placeholder="job.failed"
          autocomplete="off"
          onInput={(event) => setTyped({ ...typed, type: event.currentTarget.value })}
        />
        <datalist id="event-types">
          {OFFERED.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      </label>
      <label class="field">
        <span>About (a job's id, a worker, a queue)</span>
        <input
          name="subject"
          value={typed.subject}
          autocomplete="off"
          onInput={(event) => setTyped({ ...typed, subject: event.currentTarget.value })}
        />
      </label>
      <button type="submit">Show</button>
      {(type || subject) && (
        <a class="button" href="#/events">
          Clear filter
        </a>
      )}
    </form>
  );
}

function EventLine({ event }: { event: CloudEvent }) {
  const [open, setOpen] = useState(false);
  const told = [event.data["jobType"], event.data["queue"], event.data["reason"]]
    .filter((one): one is string => typeof one === "string")
    .join(" · ");
  const isJob = event.type.startsWith("job.") && event.subject !== undefined;
  return (
    <li data-event={event.id}>
      <details onToggle={(toggled) => setOpen(toggled.currentTarget.open)}>
        <summary>
          <time dateTime={event.time} title={moment(event.time)}>
            {clock(Date.parse(event.time))}
          </time>{" "}
          <code>{visible(event.type)}</code> <Text of={told} limit={120} />
        </summary>
        {open && (
          <>
            {isJob && (
              <p>
                <a href={jobHref(event.subject!)}>Its job</a>
              </p>
            )}
            <Block of={JSON.stringify(event, null, 2)} label="Event" />
          </>
        )}
      </details>
    </li>
  );
}
