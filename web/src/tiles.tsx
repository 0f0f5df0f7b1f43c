/** The figures at the top: how many jobs are in which state, how fast they go, how long they take. */
import { useComputed } from "@preact/signals";
import { jobsHref } from "./address";
import { Icon } from "./badge";
import type { SeriesStep, State } from "./contracts";
import { count, duration, rate } from "./format";
import { finishedSteps, meanRate, total } from "./series";
import { live, serverNow, series, staleSince, stats, tally } from "./session";
import { binned, sparkPath } from "./spark";
import { LOOK, STATES } from "./state";

export const ESTIMATED = "Estimated from counts in bins: off by less than 25 %";

const BINS = 45;

type Steps = NonNullable<ReturnType<typeof useSteps>>;

/** The finished steps up to now; an unread or broken series ends where it was last known. */
export function useSteps() {
  return useComputed(() => {
    const read = series.value.value;
    if (!read) return null;
    const at = serverNow.value;
    const until = live.connection.value.phase === "live" && !series.error.value ? at : null;
    return {
      steps: finishedSteps(read, tally, at, until),
      // The step that is not over yet counts, though it cannot be drawn.
      counted: finishedSteps(read, tally, Infinity, until),
      stepSeconds: read.stepSeconds,
    };
  }).value;
}

function Stale() {
  return staleSince.value === null || !stats.value.value ? null : <span class="stale">stale</span>;
}

interface SparkProps {
  seen: Steps | null;
  of: (step: SeriesStep) => number | null;
  sum?: boolean;
  title: string;
}

function Spark({ seen, of, sum = true, title }: SparkProps) {
  const path = seen ? sparkPath(binned(seen.steps.map(of), BINS, sum), 100, 18) : "";
  return (
    <svg class="spark" viewBox="0 0 100 18" preserveAspectRatio="none" role="img" aria-label={title}>
      <title>{title}</title>
      <path d={path} />
    </svg>
  );
}

/**
 * What happened that brings jobs into a state, of which a tile's line is: how many are in it cannot
 * be told of the past. Nothing tells of those that are put off.
 */
const INTO: Partial<Record<State, [Exclude<keyof SeriesStep, "at" | `${string}Seconds`>, string]>> = {
  queued: ["created", "accepted"],
  running: ["started", "started"],
  retrying: ["retried", "sent to retry"],
  completed: ["completed", "completed"],
  failed: ["failed", "failed"],
  cancelled: ["cancelled", "cancelled"],
};

function StateTile({ state, seen }: { state: State; seen: Steps | null }) {
  const counts = stats.value.value?.states;
  const [into, word] = INTO[state] ?? [null, ""];
  return (
    <a class="tile" href={jobsHref({ states: [state] })} title={LOOK[state].meaning}>
      <span class="tile-name">
        <Icon state={state} />
        {state}
      </span>
      <span class="tile-value" data-tile={state}>
        {count(counts?.[state])}
      </span>
      <span class="tile-about">
        {into === null ? LOOK[state].meaning : `${count(seen && total(seen.counted, (s) => s[into]))} ${word}, 15\u00a0min`}
      </span>
      {into && <Spark seen={seen} of={(s) => s[into]} title={`jobs ${word}, last 15 min`} />}
      <Stale />
    </a>
  );
}

interface FigureProps {
  name: string;
  value: string;
  about: string;
  data: string;
  title?: string;
  children?: preact.ComponentChildren;
}

function FigureTile({ name, value, about, data, title, children }: FigureProps) {
  return (
    <div class="tile" title={title}>
      <span class="tile-name">{name}</span>
      <span class="tile-value" data-tile={data}>
        {value}
      </span>
      <span class="tile-about">{about}</span>
      {children}
      <Stale />
    </div>
  );
}

export function Tiles() {
  const seen = useSteps();
  const overall = stats.value.value?.overall;
  const perSecond =
    seen &&
    meanRate(seen.steps, seen.stepSeconds, 60, (s) => s.completed + s.failed + s.cancelled);
  return (
    <section aria-label="Figures" class="tiles">
      {STATES.map((state) => (
        <StateTile key={state} state={state} seen={seen} />
      ))}
      <FigureTile
        name="throughput"
        value={perSecond === null ? "–" : `${rate(perSecond)}/s`}
        about="finished, last minute"
        data="throughput"
      >
        <Spark seen={seen} of={(s) => s.completed + s.failed + s.cancelled} title="jobs finished, last 15 min" />
      </FigureTile>
      <FigureTile
        name="p95 wait"
        value={duration(overall?.waitSeconds?.p95)}
        about="in the queue, last 15 min"
        title={ESTIMATED}
        data="wait"
      >
        <Spark seen={seen} of={(s) => s.waitSeconds?.p95 ?? null} sum={false} title="p95 wait, last 15 min" />
      </FigureTile>
      <FigureTile
        name="p95 run"
        value={duration(overall?.runSeconds?.p95)}
        about="per attempt, last 15 min"
        title={ESTIMATED}
        data="run"
      >
        <Spark seen={seen} of={(s) => s.runSeconds?.p95 ?? null} sum={false} title="p95 run, last 15 min" />
      </FigureTile>
      <FigureTile name="newly failed" value={count(seen && total(seen.counted, (s) => s.failed))} about="last 15 min" data="newly-failed">
        <Spark seen={seen} of={(s) => s.failed} title="jobs failed, last 15 min" />
      </FigureTile>
    </section>
  );
}
