/** The first view: is it healthy, is it keeping up, what is failing. */
import { useComputed, useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { jobHref, jobsHref } from "./address";
import { clockAheadMs } from "./api";
import { Age, Icon } from "./badge";
import type { State } from "./contracts";
import { count, duration, elapsed, rate, shellQuoted } from "./format";
import { JobList } from "./joblist";
import { JobTable, NewRows } from "./jobtable";
import { Plot } from "./plot";
import { finishedSteps, meanRate, WINDOW_SECONDS } from "./series";
import { failures, live, now, queues, series, serverNow, staleSince, stats, tally } from "./session";
import { LOOK, STATES } from "./state";
import { Copy, Text } from "./text";

function StateTile({ state }: { state: State }) {
  const counts = stats.value.value?.states;
  return (
    <a class="tile" href={jobsHref({ states: [state] })} title={LOOK[state].meaning}>
      <span class="tile-name">
        <Icon state={state} />
        {state}
      </span>
      <span class="tile-value" data-tile={state}>
        {count(counts?.[state])}
      </span>
      <Stale />
    </a>
  );
}

function Stale() {
  return staleSince.value === null || !stats.value.value ? null : <span class="stale">stale</span>;
}

interface FigureProps {
  name: string;
  value: string;
  about: string;
  data: string;
  title?: string;
}

const ESTIMATED = "Estimated from counts in bins: off by less than 25 %";

function FigureTile({ name, value, about, data, title }: FigureProps) {
  return (
    <div class="tile" title={title}>
      <span class="tile-name">{name}</span>
      <span class="tile-value" data-tile={data}>
        {value}
      </span>
      <span class="tile-about">{about}</span>
      <Stale />
    </div>
  );
}

/** The finished steps up to now; an unread or broken series ends where it was last known. */
function useSteps() {
  return useComputed(() => {
    const read = series.value.value;
    if (!read) return null;
    const at = serverNow.value;
    const until = live.connection.value.phase === "live" && !series.error.value ? at : null;
    return {
      steps: finishedSteps(read, tally, at, until),
      // The step that is not over yet counts, though it cannot be drawn.
      failed: finishedSteps(read, tally, Infinity, until).reduce((sum, s) => sum + s.failed, 0),
      stepSeconds: read.stepSeconds,
    };
  }).value;
}

function Tiles() {
  const seen = useSteps();
  const overall = stats.value.value?.overall;
  const perSecond =
    seen &&
    meanRate(seen.steps, seen.stepSeconds, 60, (s) => s.completed + s.failed + s.cancelled);
  return (
    <section aria-label="Figures" class="tiles">
      {STATES.map((state) => (
        <StateTile key={state} state={state} />
      ))}
      <FigureTile
        name="throughput"
        value={perSecond === null ? "–" : `${rate(perSecond)}/s`}
        about="finished, last minute"
        data="throughput"
      />
      <FigureTile
        name="p95 wait"
        value={duration(overall?.waitSeconds?.p95)}
        about="in the queue, last 15 min"
        title={ESTIMATED}
        data="wait"
      />
      <FigureTile
        name="p95 run"
        value={duration(overall?.runSeconds?.p95)}
        about="per attempt, last 15 min"
        title={ESTIMATED}
        data="run"
      />
      <FigureTile
        name="newly failed"
        value={count(seen?.failed)}
        about="last 15 min"
        data="newly-failed"
      />
    </section>
  );
}

function Plots() {
  const seen = useSteps();
  if (!seen) return <div class="plots plots-empty" />;
  const { steps, stepSeconds } = seen;
  const ahead = clockAheadMs.value;
  const times = steps.map((step) => (Date.parse(step.at) - ahead) / 1000);
  const per = (of: (step: (typeof steps)[number]) => number) =>
    steps.map((step) => of(step) / stepSeconds);
  const until = Math.floor(now.value / 1000);
  return (
    <div class="plots">
      <Plot
        title="Jobs per second, last 15 min"
        times={times}
        lines={[
          { label: "completed", colour: "--line-completed", values: per((s) => s.completed) },
          { label: "created", colour: "--line-created", dash: [2, 4], values: per((s) => s.created) },
          { label: "failed", colour: "--line-failed", dash: [8, 4], values: per((s) => s.failed) },
        ]}
        windowSeconds={WINDOW_SECONDS}
        until={until}
        height={190}
        show={(value) => rate(value)}
      />
      <Plot
        title="95th percentile of wait and run, last 15 min"
        times={times}
        lines={[
          {
            label: "p95 wait",
            colour: "--line-wait",
            points: true,
            values: steps.map((s) => s.waitSeconds?.p95 ?? null),
          },
          {
            label: "p95 run",
            colour: "--line-run",
            dash: [6, 4],
            points: true,
            values: steps.map((s) => s.runSeconds?.p95 ?? null),
          },
        ]}
        windowSeconds={WINDOW_SECONDS}
        until={until}
        height={190}
        show={(value) => duration(value)}
      />
    </div>
  );
}

function Queues() {
  const items = queues.value.value?.items;
  const asOf = queues.value.value?.asOf;
  if (!items) return <Unread error={queues.error.value} />;
  if (!items.length) return <p class="empty">No queue yet: the first job makes one.</p>;
  return (
    <div class="table-box">
      <table>
        <caption class="unseen">Queues</caption>
        <thead>
          <tr>
            <th scope="col">Queue</th>
            <th scope="col" class="number">
              Queued
            </th>
            <th scope="col" class="number">
              Running
            </th>
            <th scope="col" class="number wide">
              Retrying
            </th>
            <th scope="col" class="number">
              Failed
            </th>
            <th scope="col" class="number">
              Oldest
            </th>
            <th scope="col" class="number wide">
              In/s
            </th>
            <th scope="col" class="number wide">
              Out/s
            </th>
            <th scope="col" class="number wide" title={ESTIMATED}>
              p95 wait
            </th>
            <th scope="col" class="number wide" title={ESTIMATED}>
              p95 run
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((queue) => (
            <tr key={queue.name} data-queue={queue.name}>
              <th scope="row" class="one-line">
                <a href={jobsHref({ queue: queue.name })}>
                  <Text of={queue.name} limit={40} />
                </a>
                {queue.paused && <span class="paused">‖ paused</span>}
              </th>
              <td class="number">{count(queue.states.queued)}</td>
              <td class="number">{count(queue.states.running)}</td>
              <td class="number wide">{count(queue.states.retrying)}</td>
              <td class="number">{count(queue.states.failed)}</td>
              <td class="number">
                {queue.oldestAgeSeconds === null
                  ? "–"
                  : elapsed(
                      queue.oldestAgeSeconds +
                        (serverNow.value - Date.parse(asOf ?? "")) / 1000 || 0,
                    )}
              </td>
              <td class="number wide">{rate(queue.createdPerSecond)}</td>
              <td class="number wide">{rate(queue.finishedPerSecond)}</td>
              <td class="number wide">{duration(queue.waitSeconds?.p95)}</td>
              <td class="number wide">{duration(queue.runSeconds?.p95)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Failures() {
  const items = failures.value.value?.items;
  if (!items) return <Unread error={failures.error.value} />;
  if (!items.length) return <p class="empty">Nothing fails.</p>;
  return (
    <div class="table-box">
      <table class="failures">
        <caption class="unseen">Failing jobs, grouped by error</caption>
        <thead>
          <tr>
            <th scope="col">Error</th>
            <th scope="col" class="wide">
              Type
            </th>
            <th scope="col" class="number">
              Jobs
            </th>
            <th scope="col" class="number wide">
              First
            </th>
            <th scope="col" class="number">
              Last
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((group) => (
            <tr key={group.fingerprint} data-fingerprint={group.fingerprint}>
              <td class="name">
                <a href={jobHref(group.sampleJobId)} title="Its latest job, with the traceback">
                  <Text of={group.errorType} limit={80} />
                </a>
                <span class="row-error">
                  <Text of={group.message} limit={160} />
                </span>
              </td>
              <td class="wide one-line">
                <a href={jobsHref({ states: ["failed", "retrying"], type: group.type })}>
                  <Text of={group.type} limit={60} />
                </a>
              </td>
              <td class="number">
                {group.states.failed > 0 && (
                  <span class="amount" title={`${group.states.failed} failed`}>
                    {count(group.states.failed)} <Icon state="failed" />
                    <span class="unseen">failed</span>
                  </span>
                )}
                {group.states.retrying > 0 && (
                  <span class="amount" title={`${group.states.retrying} retrying`}>
                    {count(group.states.retrying)} <Icon state="retrying" />
                    <span class="unseen">retrying</span>
                  </span>
                )}
              </td>
              <td class="number wide">
                <Age of={group.firstSeenAt} />
              </td>
              <td class="number">
                <Age of={group.lastSeenAt} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Unread({ error }: { error: Error | null }) {
  return <p class="empty">{error ? `Not read yet: ${error.message}` : "Reading…"}</p>;
}

export function submitCommand(type: string): string {
  return `observatory submit ${shellQuoted(type)} name=value${urlOption()}`;
}

/** The command line asks 127.0.0.1:8080 unless told. */
export function urlOption(): string {
  const base = document.baseURI.replace(/[#?].*$/, "").replace(/\/$/, "");
  return base === "http://127.0.0.1:8080" ? "" : ` --url ${shellQuoted(base)}`;
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

function Latest() {
  const list = useMemo(() => new JobList("", 25), []);
  const error = list.reading.error.value;
  const read = list.reading.value.value;
  const none = read !== null && !list.ids.value.length;
  return (
    <section aria-labelledby="latest">
      <div class="heading">
        <h2 id="latest">Latest jobs</h2>
        <NewRows list={list} />
        <a href="#/jobs">All jobs</a>
      </div>
      {!read && <Unread error={error} />}
      {none && <NoJobs />}
      <div hidden={!read || none}>
        <JobTable list={list} caption="Latest jobs" />
      </div>
    </section>
  );
}

/** Told to screen readers, at most every ten seconds. */
function Spoken() {
  const [told, setTold] = useState("");
  const [last] = useState({ at: 0 });
  useSignalEffect(() => {
    const states = stats.value.value?.states;
    if (!states || Date.now() - last.at < 10_000) return;
    last.at = Date.now();
    setTold(`${states.queued} queued, ${states.running} running, ${states.failed} failed`);
  });
  return (
    <p class="unseen" aria-live="polite">
      {told}
    </p>
  );
}

export function Overview() {
  useEffect(() => {
    const stop = [series.use(), queues.use(), failures.use()];
    return () => stop.forEach((one) => one());
  }, []);
  return (
    <>
      <h1 class="unseen">Overview</h1>
      <Spoken />
      <Tiles />
      <Plots />
      <div class="two">
        <section aria-labelledby="failing">
          <div class="heading">
            <h2 id="failing">Failing</h2>
            <a href={jobsHref({ states: ["failed"] })}>All failed jobs</a>
          </div>
          <Failures />
        </section>
        <section aria-labelledby="queues">
          <div class="heading">
            <h2 id="queues">Queues</h2>
          </div>
          <Queues />
        </section>
      </div>
      <Latest />
    </>
  );
}
