/** A job's attempts: on one line of time, and each with its error. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { jobHref, jobsHref } from "./address";
import { signs, timeline, type Bar } from "./attempts";
import { Badge } from "./badge";
import type { Attempt, Job, JobError, Page } from "./contracts";
import { clock, count, duration, elapsed, moment } from "./format";
import type { Reading } from "./reading";
import { serverNow } from "./session";
import { Block, Copy, Text } from "./text";
import { tracebackParts } from "./traceback";

const LANE_HEIGHT = 18;
const BAR_HEIGHTS = { run: 14, wait: 8, pause: 2 } as const;
const LEAST_WIDE = 0.003;

function BarShape({ bar }: { bar: Bar }) {
  const percent = (fraction: number) => `${(fraction * 100).toFixed(3)}%`;
  const height = BAR_HEIGHTS[bar.kind];
  return (
    <rect
      class={`bar ${bar.kind}`}
      data-outcome={bar.kind === "run" ? (bar.outcome ?? "running") : undefined}
      x={percent(bar.from)}
      y={(LANE_HEIGHT - height) / 2}
      width={percent(Math.max(bar.to - bar.from, LEAST_WIDE))}
      height={height}
    />
  );
}

function Lanes({ job, attempts }: { job: Job; attempts: Attempt[] }) {
  const drawn = timeline(job, attempts, serverNow.value, duration);
  return (
    <figure class="timeline">
      <figcaption>
        {moment(job.createdAt)} <span class="faint">and {duration(drawn.seconds)} on.</span>{" "}
        {signs(drawn.lanes).map((sign) => (
          <span class="key-to-bars" key={sign.words}>
            <svg width="20" height={LANE_HEIGHT} aria-hidden="true">
              <BarShape bar={sign.bar} />
            </svg>{" "}
            {sign.words}
          </span>
        ))}
      </figcaption>
      <ol>
        {drawn.lanes.map((lane) => (
          <li key={lane.label}>
            <span class="lane-label">{lane.label}</span>
            <svg class="lane" width="100%" height={LANE_HEIGHT} aria-hidden="true">
              <rect class="track" width="100%" height={LANE_HEIGHT} />
              {lane.bars.map((bar, index) => (
                <BarShape key={index} bar={bar} />
              ))}
            </svg>
            <span class="lane-told">{lane.told}</span>
          </li>
        ))}
      </ol>
    </figure>
  );
}

interface AttemptsProps {
  job: Job;
  reading: Reading<Page<Attempt>>;
  asked: number | null;
}

/** Every run of a job, the last with its traceback open, or the one that was asked for. */
export function Attempts({ job, reading, asked }: AttemptsProps) {
  const read = reading.value.value;
  const error = reading.error.value;
  const attempts = read?.items ?? [];
  const last = attempts.at(-1);
  // The job's own error stands in while the attempts are not read, or where they keep none.
  const orphan = job.error && !attempts.some((one) => one.error);
  return (
    <section aria-labelledby="attempts">
      <h2 id="attempts">Attempts</h2>
      {!read && error && <p class="warning">Not read: {error.message}</p>}
      {read && <Lanes job={job} attempts={attempts} />}
      {orphan && job.error && <ErrorText error={job.error} />}
      {read && !attempts.length && <p class="empty">Not started yet.</p>}
      {attempts.length > 0 && (
        <div class="table-box">
          <table class="attempts">
            <caption class="unseen">Attempts, the last first</caption>
            <thead>
              <tr>
                <th scope="col" class="number">
                  #
                </th>
                <th scope="col">Outcome</th>
                <th scope="col">Started</th>
                <th scope="col" class="number">
                  Waited
                </th>
                <th scope="col" class="number">
                  Ran
                </th>
                <th scope="col" class="wide">
                  Worker
                </th>
              </tr>
            </thead>
            {attempts.toReversed().map((one) => (
              <AttemptRows
                key={one.attempt}
                one={one}
                job={job}
                open={asked === null ? one === last : one.attempt === asked}
                asked={one.attempt === asked}
              />
            ))}
          </table>
        </div>
      )}
    </section>
  );
}

const OUTCOME_STATE = {
  completed: "completed",
  failed: "failed",
  timeout: "failed",
  lost: "failed",
  released: "queued",
  cancelled: "cancelled",
} as const;

interface AttemptRowsProps {
  one: Attempt;
  job: Job;
  open: boolean;
  asked: boolean;
}

function AttemptRows({ one, job, open, asked }: AttemptRowsProps) {
  const body = useRef<HTMLTableSectionElement>(null);
  useEffect(() => {
    if (asked) body.current?.scrollIntoView({ block: "nearest" });
  }, [asked]);
  const state = one.outcome ? OUTCOME_STATE[one.outcome] : "running";
  const run = one.runSeconds ?? (serverNow.value - Date.parse(one.startedAt)) / 1000;
  const whole = one.attempt === job.attempt && job.error && one.error;
  const error =
    one.error && whole && !one.error.traceback
      ? { ...one.error, traceback: job.error?.traceback ?? null }
      : one.error;
  return (
    <tbody ref={body} data-attempt={one.attempt}>
      <tr>
        <th scope="row" class="number">
          <a href={jobHref(job.id, one.attempt)} title="A link to this attempt">
            {one.attempt}
          </a>
        </th>
        <td>
          <span class="badge-like">
            <Badge state={state} />
            {one.outcome && one.outcome !== state && <> ({one.outcome})</>}
          </span>
        </td>
        <td title={moment(one.startedAt)}>{clock(Date.parse(one.startedAt))}</td>
        <td class="number">{duration(one.waitSeconds)}</td>
        <Ran of={one.outcome} seconds={run} />
        <td class="wide">
          {one.worker ? (
            <a href={jobsHref({ worker: one.worker })}>
              <Text of={one.worker} limit={80} />
            </a>
          ) : (
            "–"
          )}
        </td>
      </tr>
      {error && (
        <tr class="attempt-error">
          <td colSpan={6}>
            <Opened at={open}>
              <summary>
                <b>
                  <Text of={error.type} limit={120} />
                </b>{" "}
                <Text of={error.message} limit={240} />
              </summary>
              <ErrorText error={error} />
              {one.retryAt && <p class="faint">Next attempt set for {moment(one.retryAt)}.</p>}
            </Opened>
          </td>
        </tr>
      )}
    </tbody>
  );
}

function Ran({ of, seconds }: { of: Attempt["outcome"]; seconds: number }) {
  if (of === null) return <td class="number">{`${elapsed(seconds)}…`}</td>;
  if (of !== "lost") return <td class="number">{duration(seconds)}</td>;
  return (
    <td class="number" title="When it ended is not known; so long after its start it was noticed">
      {`(${duration(seconds)})`}
    </td>
  );
}

/** Open or closed at first as given, then as the reader leaves it. */
function Opened({ at, children }: { at: boolean; children: preact.ComponentChildren }) {
  const [open, setOpen] = useState(at);
  useEffect(() => setOpen(at), [at]);
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      {children}
    </details>
  );
}

function ErrorText({ error }: { error: JobError }) {
  const { traceback } = error;
  const parts = useMemo(() => (traceback ? tracebackParts(traceback) : []), [traceback]);
  if (!traceback) {
    return (
      <div class="traceback">
        <Block of={`${error.type}: ${error.message}`} label="Error" />
      </div>
    );
  }
  return (
    <div class="traceback" data-traceback>
      <p class="tools">
        <Copy text={traceback} what="the traceback" />
      </p>
      {parts.map((part, index) =>
        part.kind === "library" ? (
          <details key={index} class="library">
            <summary>
              {part.frames === 1 ? "1 library frame" : `${count(part.frames)} library frames`}
            </summary>
            <Block of={part.text} label="Library frames" />
          </details>
        ) : (
          <div key={index} class={part.kind}>
            <Block of={part.text} label={part.kind === "own" ? "Own code" : "Traceback"} />
          </div>
        ),
      )}
    </div>
  );
}
