/** The observatory's own health: what it stands on, how far behind it is, what waits. */
import { useEffect, useMemo } from "preact/hooks";
import { jobHref } from "./address";
import { get } from "./api";
import { Age, Badge } from "./badge";
import type { SystemHealth } from "./contracts";
import { clock, count, duration, elapsed } from "./format";
import { Reading } from "./reading";
import { live, now, serverNow, stats } from "./session";
import { Text } from "./text";
import { Again, Unread } from "./unread";

const NAMED = {
  store: "Store, the record of jobs",
  spine: "Spine, what carries work and events",
  aggregates: "Aggregates, the numbers",
} as const;

interface Fact {
  name: string;
  tone: "good" | "bad" | "unknown";
  told: preact.ComponentChildren;
  about: string;
}

const SIGN = { good: "✔", bad: "✖", unknown: "?" } as const;
const WORD = { good: "well", bad: "not well", unknown: "unknown" } as const;

function Facts({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl class="facts health-facts">
      {facts.map((fact) => (
        <div key={fact.name} data-tone={fact.tone}>
          <dt>
            <span class="sign" aria-hidden="true">
              {SIGN[fact.tone]}
            </span>{" "}
            {fact.name} <span class="unseen">{WORD[fact.tone]}</span>
          </dt>
          <dd>{fact.told}</dd>
          <dd class="note">{fact.about}</dd>
        </div>
      ))}
    </dl>
  );
}

const LAG_BAD_S = 30;
const OUTBOX_BAD_S = 60;
const HEARTBEAT_BAD_S = 120;

/** Of the newest one: whether it came through, or has been on its way for too long. */
function heartbeatFact(
  { heartbeat, backends }: SystemHealth,
  since: (time: string) => number,
): Fact {
  const name = "Heartbeat job";
  if (heartbeat === null) {
    const away = backends.some((one) => one.name === "store" && !one.ok);
    return {
      name,
      tone: "unknown",
      told: away ? "the store does not answer" : "none is submitted",
      about: "OBSERVATORY_CANARY_SECONDS=15 submits one every 15 s, through the whole pipeline.",
    };
  }
  const { lastCompletedAt } = heartbeat;
  const old = since(heartbeat.acceptedAt) > HEARTBEAT_BAD_S;
  const through = heartbeat.state === "completed";
  return {
    name,
    tone: through ? (old ? "unknown" : "good") : old ? "bad" : "good",
    told: (
      <>
        <a href={jobHref(heartbeat.jobId)}>the newest</a> <Badge state={heartbeat.state} />{" "}
        {lastCompletedAt === null
          ? "none has come through"
          : `one came through ${elapsed(since(lastCompletedAt))} ago`}
      </>
    ),
    about: old && through ? "None has been submitted lately." : "A job that does nothing, through the whole pipeline.",
  };
}

function factsOf(read: SystemHealth, at: number): Fact[] {
  const since = (time: string) => Math.max(0, (at - Date.parse(time)) / 1000);
  const { log, outbox, deadLetters } = read;
  const oldest = outbox?.oldestAt ? since(outbox.oldestAt) : 0;
  return [
    {
      name: "Views",
      tone: log.rebuilding || !log.complete || log.lagSeconds > LAG_BAD_S ? "bad" : "good",
      told: log.rebuilding
        ? "being counted anew from the store"
        : !log.complete
          ? "not complete"
          : `${duration(log.lagSeconds)} behind the event log`,
      about: `Applied up to ${count(log.offset)}. A gap in the log is counted anew from the store.`,
    },
    {
      name: "Outbox",
      tone: outbox === null ? "unknown" : oldest > OUTBOX_BAD_S ? "bad" : "good",
      told:
        outbox === null
          ? "the store does not answer"
          : outbox.commits === 0
            ? "empty"
            : `${count(outbox.commits)} waiting, the oldest for ${elapsed(oldest)}`,
      about: "What is recorded and not yet published to the spine.",
    },
    heartbeatFact(read, since),
    {
      name: "Dead letters",
      tone: deadLetters === null ? "unknown" : deadLetters > 0 ? "bad" : "good",
      told: deadLetters === null ? "the spine does not answer" : count(deadLetters),
      about: "Work messages that nobody can read.",
    },
  ];
}

export function System() {
  const reading = useMemo(() => new Reading<SystemHealth>(() => get("system"), { everyMs: 3000 }), []);
  useEffect(reading.use, [reading]);
  const read = reading.value.value;
  const at = live.connection.value;
  return (
    <>
      <div class="heading">
        <h1>System</h1>
        {read && (
          <span class="faint">
            version <Text of={read.version} limit={40} />, looked at <Age of={read.asOf} /> ago
          </span>
        )}
      </div>
      <Again error={reading.error.value} read={read} />
      {!read && <Unread error={reading.error.value} />}
      {read && (
        <>
          <section aria-labelledby="stands-on">
            <h2 id="stands-on">What it stands on</h2>
            <Facts
              facts={read.backends.map((one) => ({
                name: NAMED[one.name],
                tone: one.ok ? "good" : "bad",
                told: one.ok ? "answers" : "does not answer",
                about: one.detail ?? "",
              }))}
            />
          </section>
          <section aria-labelledby="flow">
            <h2 id="flow">The flow</h2>
            <Facts facts={factsOf(read, serverNow.value)} />
          </section>
        </>
      )}
      <section aria-labelledby="this-page">
        <h2 id="this-page">This page</h2>
        <Facts
          facts={[
            {
              name: "Live stream",
              tone: at.phase === "live" ? "good" : at.phase === "asleep" ? "unknown" : "bad",
              told: at.phase === "live" ? "connected" : at.phase,
              about: live.heardAt
                ? `Last heard ${elapsed((now.value - live.heardAt) / 1000)} ago, at position ${live.position.value ?? "–"}.`
                : "Nothing heard yet.",
            },
            {
              name: "Figures",
              tone: stats.error.value ? "bad" : "good",
              told: stats.error.value ? stats.error.value.message : "read",
              about: stats.readAt.value ? `Last read at ${clock(stats.readAt.value)}.` : "Not read yet.",
            },
          ]}
        />
      </section>
      <p class="note">
        For machines: <a href="./healthz">health</a>, <a href="./metrics">metrics</a>,{" "}
        <a href="./system">this view</a>.
      </p>
    </>
  );
}
