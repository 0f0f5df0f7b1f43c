/** The first view: is it healthy, is it keeping up, what is failing. */
import { useSignalEffect } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { clockAheadMs } from "./api";
import type { SeriesStep } from "./contracts";
import { FailureTable } from "./failures";
import { duration, rate } from "./format";
import { JobTable, NewRows, NoJobs, useJobList } from "./jobtable";
import { Plot, type Line } from "./plot";
import { QueueTable } from "./queues";
import { spanSeconds } from "./series";
import { failures, now, serverNow, series, stats } from "./session";
import { Tiles, useSteps } from "./tiles";
import { Unread } from "./unread";

function Plots() {
  const seen = useSteps();
  if (!seen) return <div class="plots plots-empty" />;
  const { steps, stepSeconds } = seen;
  const ahead = clockAheadMs.value;
  const times = steps.map((step) => (Date.parse(step.at) - ahead) / 1000);
  const per = (of: (step: (typeof steps)[number]) => number) =>
    steps.map((step) => of(step) / stepSeconds);
  const until = Math.floor(now.value / 1000);
  const span = spanSeconds(steps, serverNow.value);
  const last = `last ${duration(span)}`;
  return (
    <div class="plots">
      <Plot
        title={`Jobs per second, ${last}`}
        times={times}
        lines={[
          { label: "completed", colour: "--line-completed", values: per((s) => s.completed) },
          { label: "created", colour: "--line-created", dash: [2, 4], values: per((s) => s.created) },
          { label: "failed", colour: "--line-failed", dash: [8, 4], values: per((s) => s.failed) },
        ]}
        windowSeconds={span}
        until={until}
        height={190}
        show={(value) => rate(value)}
      />
      {(["wait", "run"] as const).map((name) => (
        <Plot
          key={name}
          title={`${name === "wait" ? "Wait in the queue" : "Run of an attempt"}, ${last}`}
          times={times}
          lines={quantiles(steps, name)}
          windowSeconds={span}
          until={until}
          height={190}
          show={(value) => duration(value)}
        />
      ))}
    </div>
  );
}

function Failures() {
  const items = failures.value.value?.items;
  if (!items) return <Unread error={failures.error.value} />;
  return items.length ? <FailureTable items={items} /> : <p class="empty">Nothing fails.</p>;
}

/** Three percentiles of one measure: the same colour, told apart by their dashes. */
function quantiles(steps: readonly SeriesStep[], name: "wait" | "run"): Line[] {
  const of = (q: "p50" | "p95" | "p99") => steps.map((s) => s[`${name}Seconds`]?.[q] ?? null);
  const colour = `--line-${name}`;
  return [
    { label: `p50 ${name}`, colour, dash: [2, 4], points: true, values: of("p50") },
    { label: `p95 ${name}`, colour, points: true, values: of("p95") },
    { label: `p99 ${name}`, colour, dash: [8, 4], points: true, values: of("p99") },
  ];
}

function Latest() {
  const list = useJobList(() => "", 25);
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
    const stop = [series.use(), failures.use()];
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
            <a href="#/failures">All failures</a>
          </div>
          <Failures />
        </section>
        <section aria-labelledby="queues">
          <div class="heading">
            <h2 id="queues">Queues</h2>
            <a href="#/queues">All queues</a>
          </div>
          <QueueTable />
        </section>
      </div>
      <Latest />
    </>
  );
}
