/** One job: where it stands, its attempts and errors, what went in and came out, what may be done. */
import type { Signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { jobHref, jobsHref } from "./address";
import { ApiError, get, getJob, key, post, url } from "./api";
import { timeline } from "./attempts";
import { Age, Badge } from "./badge";
import type {
  Accepted,
  Attempt,
  CancelAccepted,
  CloudEvent,
  Job,
  JobError,
  JobSummary,
  LogLine,
  Page,
} from "./contracts";
import { bytes, clock, count, duration, elapsed, moment, shellQuoted } from "./format";
import { newer } from "./joblist";
import { urlOption } from "./overview";
import { Reading } from "./reading";
import { afterEvent, attemptOf, suspectTold } from "./row";
import { listen, serverNow } from "./session";
import { isTerminal, mayCancel, mayRetry } from "./state";
import { Block, Copy, Text } from "./text";
import { tracebackParts } from "./traceback";

const LOG_LINES = 200;

class OpenJob {
  readonly job: Reading<Job>;
  readonly attempts: Reading<Page<Attempt>>;
  readonly logs: Reading<Page<LogLine>>;
  readonly events: Reading<Page<CloudEvent>>;

  constructor(readonly id: string) {
    const path = `jobs/${encodeURIComponent(id)}`;
    this.job = new Reading(async () => {
      const read = await getJob(id);
      const known = this.job.value.peek();
      return known ? ({ ...read, ...newer(known, read) } as Job) : read;
    });
    this.attempts = new Reading(() => get(`${path}/attempts`));
    this.logs = new Reading(() => get(`${path}/logs?limit=${LOG_LINES}`));
    this.events = new Reading(() => get(`${path}/events`));
  }

  use = (): (() => void) => {
    const stops = [this.job.use(), listen((events) => this.hear(events))];
    return () => stops.forEach((stop) => stop());
  };

  /** Once it is known that the job exists. */
  useRest = (): (() => void) => {
    const stops = [this.attempts, this.logs, this.events].map((one) => one.use());
    return () => stops.forEach((stop) => stop());
  };

  hear(events: readonly CloudEvent[]): void {
    const own = events.filter((event) => event.subject === this.id);
    if (!own.length) return;
    const job = this.job.value.value;
    if (job) this.job.value.value = own.reduce<JobSummary>(afterEvent, job) as Job;
    this.wantAll();
  }

  wantAll(): void {
    for (const one of [this.job, this.attempts, this.logs, this.events]) one.want();
  }
}

export function JobPage({
  id,
  attempt,
  title,
}: {
  id: string;
  attempt: number | null;
  title: Signal<string>;
}) {
  const open = useMemo(() => new OpenJob(id), [id]);
  useEffect(open.use, [open]);
  const job = open.job.value.value;
  const exists = job !== null;
  useEffect(() => (exists ? open.useRest() : undefined), [open, exists]);
  const error = open.job.error.value;
  useEffect(() => {
    title.value = job ? `${job.state} · ${job.type}` : "Job";
  }, [job?.state, job?.type]);
  const missing = error instanceof ApiError && error.status === 404;
  if (!job) {
    return (
      <>
        <h1>Job</h1>
        {missing ? (
          <p class="empty">
            No job has the id <code><Text of={id} limit={80} /></code>: it was never accepted here,
            or it was removed when its time was up. <a href="#/jobs">All jobs</a>
          </p>
        ) : (
          <p class="empty">{error ? `Not read yet: ${error.message}` : "Reading…"}</p>
        )}
      </>
    );
  }
  return (
    <article class="job">
      <p class="trail">
        <a href="#/">Overview</a> › <a href="#/jobs">Jobs</a> › <code>{id}</code>{" "}
        <Copy text={id} what="the job's id" />
      </p>
      <header class="job-head">
        <Badge state={job.state} />
        <h1>
          <Text of={job.type} limit={128} />
        </h1>
        <span class="job-attempt">attempt {attemptOf(job)}</span>
        {job.cancelRequestedAt && !isTerminal(job.state) && (
          <span class="warning">cancel requested {clock(Date.parse(job.cancelRequestedAt))}</span>
        )}
        {job.cancelReason && (
          <span class="job-attempt">
            reason: <Text of={job.cancelReason} limit={200} />
          </span>
        )}
      </header>
      {error && (
        <p class="warning">
          {missing ? "This job has been removed meanwhile." : `Not read again: ${error.message}`}
        </p>
      )}
      <Standing job={job} />
      <Actions key={id} job={job} after={() => open.wantAll()} />
      <Attempts job={job} open={open} asked={attempt} />
      <Facts job={job} />
      <Values job={job} />
      <Logs open={open} />
      <Events open={open} />
    </article>
  );
}

/** One sentence on what the job does now, and the progress it reports. */
function Standing({ job }: { job: Job }) {
  const at = serverNow.value;
  const since = (from: string | null) =>
    from ? elapsed((at - Date.parse(from)) / 1000) : "an unknown time";
  const left = job.scheduledAt ? (Date.parse(job.scheduledAt) - at) / 1000 : null;
  const due = left === null ? "" : left > 0 ? `in ${elapsed(left)}` : "now";
  const told = {
    scheduled: `Due ${due}, at ${moment(job.scheduledAt)}.`,
    queued: `Has waited ${since(job.queuedAt)} in queue ${job.queue}.`,
    running: `Has been running for ${since(job.startedAt)}.`,
    retrying: `Failed; next attempt ${due}, at ${moment(job.scheduledAt)}.`,
    completed: `Completed ${since(job.finishedAt)} ago.`,
    failed: `Failed ${since(job.finishedAt)} ago.`,
    cancelled: `Cancelled ${since(job.finishedAt)} ago.`,
  }[job.state];
  const { progress } = job;
  const suspect = suspectTold(job);
  return (
    <>
      <p class="standing">
        {told}
        {suspect && ` ${suspect}`}
      </p>
      {progress && job.state === "running" && (
        <p class="progress">
          {progress.fraction !== null && (
            <>
              <progress value={progress.fraction} max={1} aria-label="Progress" />
              <b>{Math.floor(progress.fraction * 100)} %</b>
            </>
          )}
          {progress.message && <Text of={progress.message} />}
          <span class="faint">
            reported <Age of={progress.at} /> ago
          </span>
        </p>
      )}
    </>
  );
}

type Told = { good: boolean; text: string };

function Actions({ job, after }: { job: Job; after: () => void }) {
  const [busy, setBusy] = useState(false);
  const [told, setTold] = useState<Told | null>(null);
  const [asking, setAsking] = useState(false);
  const act = async (verb: "retry" | "cancel") => {
    setBusy(true);
    setAsking(false);
    setTold(null);
    const path = `jobs/${encodeURIComponent(job.id)}/${verb}`;
    try {
      if (verb === "retry") {
        const answer = await post<Accepted>(path);
        setTold({ good: true, text: `Accepted: queued again, event ${answer.eventId}` });
      } else {
        const answer = await post<CancelAccepted>(path);
        setTold({
          good: true,
          text: answer.eventId
            ? `Cancelled, event ${answer.eventId}`
            : "Accepted: the worker is told to stop it",
        });
      }
    } catch (reason) {
      setTold({ good: false, text: reason instanceof Error ? reason.message : String(reason) });
    }
    setBusy(false);
    after();
  };
  const retry = mayRetry(job.state);
  const cancel = mayCancel(job.state);
  return (
    <section class="actions" aria-label="Actions">
      <div class="buttons">
        <button
          type="button"
          disabled={busy || !retry}
          title={retry ? "Queue this job again" : `A ${job.state} job cannot be retried`}
          onClick={() => void act("retry")}
        >
          {job.state === "retrying" ? "Retry now" : "Retry"}
        </button>
        {asking && cancel ? (
          <span class="asking" role="group" aria-label="Cancel this job?">
            <button type="button" class="danger" disabled={busy} onClick={() => void act("cancel")}>
              Yes, cancel it
            </button>
            <button type="button" onClick={() => setAsking(false)}>
              No
            </button>
          </span>
        ) : (
          <button
            type="button"
            disabled={busy || !cancel}
            title={cancel ? "Stop this job" : `A ${job.state} job cannot be cancelled`}
            onClick={() => setAsking(true)}
          >
            Cancel…
          </button>
        )}
        <span role="status" class={told && !told.good ? "warning" : "answer"}>
          {told && <Text of={told.text} limit={500} />}
        </span>
      </div>
      <details class="by-hand">
        <summary>The same from a shell</summary>
        {retry && <Command verb="retry" id={job.id} />}
        {cancel && <Command verb="cancel" id={job.id} />}
        <Command verb="show" id={job.id} />
      </details>
    </section>
  );
}

function Command({ verb, id }: { verb: "retry" | "cancel" | "show"; id: string }) {
  const line = `observatory jobs ${verb} ${shellQuoted(id)}${urlOption()}`;
  const path = `jobs/${encodeURIComponent(id)}${verb === "show" ? "" : `/${verb}`}`;
  const auth = key.value ? ` -H "Authorization: Bearer $OBSERVATORY_API_KEY"` : "";
  const curl = `curl -sS${verb === "show" ? "" : " -X POST"}${auth} ${shellQuoted(url(path))}`;
  return (
    <>
      {[line, curl].map((command) => (
        <p class="command" key={command}>
          <code>{command}</code> <Copy text={command} what="the command" />
        </p>
      ))}
    </>
  );
}

function Lanes({ job, attempts }: { job: Job; attempts: Attempt[] }) {
  const drawn = timeline(job, attempts, serverNow.value, duration);
  const percent = (fraction: number) => `${(fraction * 100).toFixed(3)}%`;
  return (
    <figure class="timeline">
      <figcaption>
        {moment(job.createdAt)} <span class="faint">and {duration(drawn.seconds)} on.</span>{" "}
        <span class="key-to-bars">
          <svg width="20" height="10" aria-hidden="true">
            <rect class="bar wait" width="20" height="10" />
          </svg>{" "}
          wait
        </span>{" "}
        <span class="key-to-bars">
          <svg width="20" height="10" aria-hidden="true">
            <rect class="bar run" width="20" height="10" />
          </svg>{" "}
          run
        </span>
      </figcaption>
      <ol>
        {drawn.lanes.map((lane) => (
          <li key={lane.label}>
            <span class="lane-label">{lane.label}</span>
            <svg class="lane" width="100%" height="18" aria-hidden="true">
              <rect class="track" width="100%" height="18" />
              {lane.bars.map((bar, index) => (
                <rect
                  key={index}
                  class={`bar ${bar.kind}`}
                  data-outcome={bar.kind === "run" ? (bar.outcome ?? "running") : undefined}
                  x={percent(bar.from)}
                  y={bar.kind === "run" ? 2 : bar.kind === "wait" ? 5 : 8}
                  width={percent(Math.max(bar.to - bar.from, 0.003))}
                  height={bar.kind === "run" ? 14 : bar.kind === "wait" ? 8 : 2}
                />
              ))}
            </svg>
            <span class="lane-told">{lane.told}</span>
          </li>
        ))}
      </ol>
    </figure>
  );
}

function Attempts({ job, open, asked }: { job: Job; open: OpenJob; asked: number | null }) {
  const read = open.attempts.value.value;
  const error = open.attempts.error.value;
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
        <td class="number">{one.outcome ? duration(run) : `${elapsed(run)}…`}</td>
        <td class="wide">{one.worker ? <Text of={one.worker} limit={80} /> : "–"}</td>
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

function Facts({ job }: { job: Job }) {
  const facts: [string, preact.ComponentChildren][] = [
    [
      "Queue",
      <a href={jobsHref({ queue: job.queue })}>
        <Text of={job.queue} limit={80} />
      </a>,
    ],
    ["Priority", job.priority],
    ["Created", moment(job.createdAt)],
    ["Queued", moment(job.queuedAt)],
    ["Started", moment(job.startedAt)],
    ["Finished", moment(job.finishedAt)],
    ["Failures", count(job.failures)],
    ["Lost workers", count(job.crashes)],
    ["Timeout", duration(job.timeoutSeconds)],
    ["Contract version", String(job.contractVersion)],
    ["Version", String(job.version)],
  ];
  if (job.scheduledAt) facts.splice(3, 0, ["Due", moment(job.scheduledAt)]);
  if (job.worker) facts.push(["Worker", <Text of={job.worker} limit={120} />]);
  if (job.correlationId) facts.push(["Correlation", <Text of={job.correlationId} limit={140} />]);
  if (job.traceId) facts.push(["Trace", job.traceId]);
  if (job.idempotencyKey) facts.push(["Idempotency key", <Text of={job.idempotencyKey} />]);
  if (job.parentId) {
    facts.push(["Retried from", <a href={jobHref(job.parentId)}>{job.parentId}</a>]);
  }
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Values({ job }: { job: Job }) {
  const payload = useMemo(() => JSON.stringify(job.payload, null, 2), [job.payload]);
  const result = useMemo(() => JSON.stringify(job.result, null, 2), [job.result]);
  const size = (text: string) => bytes(new TextEncoder().encode(text).length);
  return (
    <div class="two">
      <section aria-labelledby="payload">
        <div class="heading">
          <h2 id="payload">Payload</h2>
          <span class="faint">{size(payload)}</span>
          <Copy text={payload} what="the payload" />
        </div>
        <Block of={payload} label="Payload" />
      </section>
      <section aria-labelledby="result">
        <div class="heading">
          <h2 id="result">Result</h2>
          {job.state === "completed" && (
            <>
              <span class="faint">{size(result)}</span>
              <Copy text={result} what="the result" />
            </>
          )}
        </div>
        {job.state === "completed" ? (
          <Block of={result} label="Result" />
        ) : (
          <p class="empty">
            {isTerminal(job.state) ? "None: it did not complete." : "Not completed yet."}
          </p>
        )}
      </section>
    </div>
  );
}

function Logs({ open }: { open: OpenJob }) {
  const read = open.logs.value.value;
  const error = open.logs.error.value;
  return (
    <section aria-labelledby="logs">
      <div class="heading">
        <h2 id="logs">Logs</h2>
        {read?.next && <span class="faint">{`the first ${count(read.items.length)} lines`}</span>}
      </div>
      {!read && <p class="empty">{error ? `Not read: ${error.message}` : "Reading…"}</p>}
      {read && !read.items.length && <p class="empty">Its handler has logged nothing.</p>}
      {read && read.items.length > 0 && (
        <div class="table-box short" tabIndex={0}>
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
            <tbody>
              {read.items.map((line, index) => (
                <tr key={index} data-level={line.level}>
                  <td title={moment(line.at)}>{clock(Date.parse(line.at))}</td>
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
          </table>
        </div>
      )}
    </section>
  );
}

function Events({ open }: { open: OpenJob }) {
  const read = open.events.value.value;
  const error = open.events.error.value;
  return (
    <section aria-labelledby="events">
      <div class="heading">
        <h2 id="events">Events</h2>
      </div>
      {!read && <p class="empty">{error ? `Not read: ${error.message}` : "Reading…"}</p>}
      <ol class="events">
        {read?.items.map((event) => (
          <EventItem key={event.id} event={event} />
        ))}
      </ol>
    </section>
  );
}

function EventItem({ event }: { event: CloudEvent }) {
  const [open, setOpen] = useState(false);
  return (
    <li>
      <details onToggle={(toggled) => setOpen(toggled.currentTarget.open)}>
        <summary>
          <time dateTime={event.time}>{moment(event.time)}</time> <code>{event.type}</code>{" "}
          <span class="faint">sequence {event.sequence ?? "–"}</span>
        </summary>
        {open && <Block of={JSON.stringify(event, null, 2)} label="Event" />}
      </details>
    </li>
  );
}
