/** The log lines of a job, with its end in sight while it is followed. */
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { clock, count, momentInUtc } from "./format";
import { KEPT, type JobLog, type Stretch } from "./joblog";
import type { Reading } from "./reading";
import { Text } from "./text";

/** So near to its end, a box is taken to be at it. */
const NEAR_PX = 12;

interface LogsProps {
  log: JobLog;
  reading: Reading<true>;
}

export function Logs({ log, reading }: LogsProps) {
  const read = reading.value.value;
  const error = reading.error.value;
  const shown = log.stretches.value;
  const { end } = log;
  const first = shown[0]?.first ?? 0;
  const told = log.further.value || first > 0 ? `lines ${count(first + 1)} to ${count(end)}` : "";
  return (
    <section aria-labelledby="logs">
      <div class="heading">
        <h2 id="logs">Logs</h2>
        {end > 0 && told && <span class="faint">{told}</span>}
        {first > 0 && (
          <>
            <span class="faint">no more than {count(KEPT)} are kept here</span>
            <button type="button" class="quiet" onClick={() => void log.fromBeginning()}>
              From the beginning
            </button>
          </>
        )}
      </div>
      {!read && !end && <p class="empty">{error ? `Not read: ${error.message}` : "Reading…"}</p>}
      {error && end > 0 && <p class="warning">Not read again: {error.message}</p>}
      {read && !end && <p class="empty">Its handler has logged nothing.</p>}
      {end > 0 && <Lines log={log} shown={shown} end={end} />}
      {end > 0 && <Further log={log} />}
    </section>
  );
}

function Further({ log }: { log: JobLog }) {
  const more = log.more.value;
  const busy = more === "loading";
  if (!log.further.value && !(more instanceof Error)) return null;
  return (
    <p class="more">
      <button type="button" aria-disabled={busy} onClick={() => busy || void log.loadMore()}>
        {busy ? "Loading…" : "Load more"}
      </button>{" "}
      <button type="button" aria-disabled={busy} onClick={() => busy || void log.toEnd()}>
        To the end
      </button>
      {more instanceof Error && <span class="warning"> {more.message}</span>}
    </p>
  );
}

function Lines({ log, shown, end }: { log: JobLog; shown: readonly Stretch[]; end: number }) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const following = log.following.value;
  useLayoutEffect(() => {
    // Whoever has scrolled back reads, and is left alone.
    if (following && atEnd.current) box.current!.scrollTop = box.current!.scrollHeight;
  }, [end, following]);
  const onScroll = () => {
    const { scrollTop, clientHeight, scrollHeight } = box.current!;
    atEnd.current = scrollTop + clientHeight >= scrollHeight - NEAR_PX;
  };
  return (
    <div class="table-box short" tabIndex={0} ref={box} onScroll={onScroll}>
      <table class="logs">
        <caption class="unseen">Log lines</caption>
        <thead>
          <tr>
            <th scope="col">At</th>
            <th scope="col" class="number">
              #
            </th>
            <th scope="col">Level</th>
            <th scope="col">Message</th>
          </tr>
        </thead>
        {shown.map((stretch) => (
          <StretchOfLines key={stretch.first} stretch={stretch} />
        ))}
      </table>
    </div>
  );
}

function StretchOfLines({ stretch }: { stretch: Stretch }) {
  // Only the last stretch grows: the others are not drawn anew with each line.
  return useMemo(
    () => (
      <tbody>
        {stretch.lines.map((line, index) => (
          <tr key={index} data-level={line.level}>
            <td title={momentInUtc(line.at)}>{clock(Date.parse(line.at))}</td>
            <td class="number">{line.attempt}</td>
            <td>{line.level}</td>
            <td class="name">
              <Text of={line.message} limit={2000} />
              {Object.keys(line.fields ?? {}).length > 0 && (
                <span class="faint">
                  {" "}
                  <Text of={JSON.stringify(line.fields)} limit={1000} />
                </span>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    ),
    [stretch],
  );
}
