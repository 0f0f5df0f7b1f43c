/** One job: where it stands, its attempts and errors, what went in and came out, what may be done. */
import type { Signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { eventsHref, jobHref, jobsHref, queueHref } from "./address";
import { ApiError, get, getJob } from "./api";
import { Age, Badge } from "./badge";
import type { Attempt, CloudEvent, Job, JobSummary, Page, Progress } from "./contracts";
import { bytes, clock, count, duration, elapsed, moment, rate } from "./format";
import { Actions } from "./jobactions";
import { Attempts } from "./jobattempts";
import { newer } from "./joblist";
import { JobLog, LINES_A_PAGE } from "./joblog";
import { Logs } from "./joblogs";
import { Reading } from "./reading";
import { afterEvent, ATTEMPTS_TOLD, attemptOf, pausedQueue, suspectTold } from "./row";
import { listen, queues, serverNow } from "./session";
import { isTerminal } from "./state";
import { Block, Copy, Text } from "./text";

class OpenJob {
  readonly job: Reading<Job>;
  readonly attempts: Reading<Page<Attempt>>;
  readonly log: JobLog;
  readonly logs: Reading<true>;
  readonly events: Reading<Page<CloudEvent>>;

  constructor(readonly id: string) {
    const path = `jobs/${encodeURIComponent(id)}`;
    this.job = new Reading(async () => {
      const read = await getJob(id);
      const known = this.job.value.peek();
      return known ? ({ ...read, ...newer(known, read) } as Job) : read;
    });
    this.attempts = new Reading(() => get(`${path}/attempts`));
    this.log = new JobLog(
      (cursor) => {
        const query = new URLSearchParams({ limit: String(LINES_A_PAGE) });
        if (cursor !== null) query.set("cursor", cursor);
        return get(`${path}/logs?${query}`);
      },
      () => !isTerminal(this.job.value.peek()?.state ?? "completed"),
    );
    this.logs = new Reading(() => this.log.refresh().then(() => true as const));
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
        <span class="job-attempt" title={job.attempt > job.maxAttempts ? ATTEMPTS_TOLD : undefined}>
          attempt {attemptOf(job)}
        </span>
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
      <Attempts job={job} reading={open.attempts} asked={attempt} />
      <Facts job={job} />
      <Values job={job} />
      <Logs log={open.log} reading={open.logs} />
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
  const pace = progress && job.state === "running" ? pacePerSecond(progress, job.startedAt) : null;
  const toGo = pace === null ? null : (1 - progress!.fraction!) / pace;
  const reported = progress ? (at - Date.parse(progress.at)) / 1000 : 0;
  const remaining = toGo === null ? null : Math.max(0, toGo - reported);
  return (
    <>
      <p class="standing">
        {told}
        {suspect && ` ${suspect}`}
      </p>
      <Paused job={job} />
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
            {remaining !== null && `, about ${elapsed(remaining)} left at ${rate(pace! * 100)} %/s`}
          </span>
        </p>
      )}
    </>
  );
}

/** Why it is not taken, where the reason is that somebody said so. */
function Paused({ job }: { job: Job }) {
  const queue = pausedQueue(job, queues.value.value?.items ?? []);
  if (!queue) return null;
  return (
    <p class="standing" role="status">
      <span class="paused">‖ {job.state === "queued" ? "waits" : "will wait"}</span> queue{" "}
      <a href={queueHref(queue.name)}>
        <Text of={queue.name} limit={80} />
      </a>{" "}
      is paused since {moment(queue.pausedAt)}: no job of it is taken.{" "}
      <a href={queueHref(queue.name)}>Resume it</a>
    </p>
  );
}

/** Of the whole, per second since the attempt began; null where nothing can be said yet. */
function pacePerSecond(progress: Progress, startedAt: string | null): number | null {
  if (!startedAt || !progress.fraction) return null;
  const ran = (Date.parse(progress.at) - Date.parse(startedAt)) / 1000;
  return ran > 0 ? progress.fraction / ran : null;
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
  if (job.worker) {
    facts.push([
      "Worker",
      <a href={jobsHref({ worker: job.worker })}>
        <Text of={job.worker} limit={120} />
      </a>,
    ]);
  }
  if (job.correlationId) {
    facts.push([
      "Correlation",
      <a href={jobsHref({ correlationId: job.correlationId })}>
        <Text of={job.correlationId} limit={140} />
      </a>,
    ]);
  }
  if (job.traceId) facts.push(["Trace", job.traceId]);
  if (job.idempotencyKey) facts.push(["Idempotency key", <Text of={job.idempotencyKey} />]);
  if (job.parentId) {
    facts.push(["Made from", <a href={jobHref(job.parentId)}>{job.parentId}</a>]);
  }
  facts.push(["Made from it", <a href={jobsHref({ parentId: job.id })}>its descendants</a>]);
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

function Events({ open }: { open: OpenJob }) {
  const read = open.events.value.value;
  const error = open.events.error.value;
  return (
    <section aria-labelledby="events">
      <div class="heading">
        <h2 id="events">Events</h2>
        <a href={eventsHref({ subject: open.id })}>As they come</a>
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
