/** The line that is always in sight: is the page live, how old is what it shows, is all well. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { url } from "./api";
import type { Alert } from "./contracts";
import { failuresTold } from "./failing";
import { clock, count, duration, elapsed } from "./format";
import { KeyForm } from "./keyform";
import { missing } from "./missing";
import { alerts, beginAgain, live, now, queues, serverNow, staleSince, stats, workers } from "./session";
import { failingCount } from "./state";

/** Fires always; that it does is nothing to be told. */
const WATCHDOG = "ObservatoryWatchdog";

function Line() {
  const at = live.connection.value;
  const stale = staleSince.value;
  const read = stats.value.value;
  const since = stale === null ? "" : stale === 0 ? "nothing read yet" : `stale since ${clock(stale)}`;
  const [tone, words] = (() => {
    switch (at.phase) {
      case "live":
        // The stream may open before anything is read, and an empty page is not live.
        if (!read && !stats.error.value) return ["unsure", "Connecting…"] as const;
        return stale === null ? (["good", "Live"] as const) : (["bad", "Events live"] as const);
      case "connecting":
        return ["unsure", "Connecting…"] as const;
      case "waiting": {
        const seconds = Math.max(1, Math.ceil((at.until - now.value) / 1000));
        return ["bad", `Reconnecting in ${seconds} s`] as const;
      }
      case "refused":
        return ["bad", `Not connected: ${at.because}`] as const;
      case "asleep":
        return ["unsure", "Paused while this tab is hidden"] as const;
    }
  })();
  return (
    <>
      <span class="connection" data-tone={tone} data-phase={at.phase}>
        <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
          {tone === "good" ? (
            <circle cx="6" cy="6" r="5" />
          ) : tone === "bad" ? (
            <path d="M6 0.5L11.8 11.3H0.2z" />
          ) : (
            <circle cx="6" cy="6" r="4" class="ring" />
          )}
        </svg>
        <strong>{words}</strong>
      </span>
      {at.phase === "waiting" && (
        <>
          <span>({at.because})</span>
          <button type="button" class="quiet" onClick={() => beginAgain()}>
            Try now
          </button>
        </>
      )}
      {since && <span class="stale-since">{since}</span>}
    </>
  );
}

function Figures() {
  const read = stats.value.value;
  if (!read) return null;
  const age = (serverNow.value - Date.parse(read.asOf)) / 1000;
  return (
    <>
      <span class="data-age">data {elapsed(age)} old</span>
      <span>
        log position <b class="log-position">{String(read.logOffset ?? "–")}</b>
      </span>
      {(read.lagSeconds ?? 0) >= 1 && <span>log read {duration(read.lagSeconds)} behind</span>}
      <Staff />
      <Failing />
    </>
  );
}

/** The first of two clicks to the traceback. */
function Failing() {
  const failing = failingCount(stats.value.value?.states);
  if (!failing) return null;
  return (
    <a class="failing" href="#/failures">
      {count(failing)} failing
    </a>
  );
}

function Staff() {
  const staff = workers.value.value?.items.filter((worker) => worker.state !== "stopped");
  if (!staff) return null;
  const able = staff.filter((worker) => worker.state === "active");
  const slots = able.reduce((sum, worker) => sum + worker.concurrency, 0);
  const busy = able.reduce((sum, worker) => sum + worker.running, 0);
  return (
    <span>
      {able.length === 1 ? "1 worker" : `${count(able.length)} workers`}
      {able.length > 0 && `, ${count(busy)} of ${count(slots)} slots busy`}
    </span>
  );
}

/** Says it already, and more exactly. */
function isOfFailures(alert: Alert): boolean {
  return alert.name.startsWith("ObservatoryJobFailureRatio");
}

/** What is not as it should be, in sentences. */
function reasons(): string[] {
  const told: string[] = [];
  const read = stats.value.value;
  if (read?.rebuilding) told.push("Rebuilding: the figures are being counted anew and are not complete yet.");
  else if (read && !read.complete) told.push("The figures are not complete.");
  if (read && (read.lagSeconds ?? 0) > 5) {
    told.push(`The figures follow the log ${duration(read.lagSeconds)} behind.`);
  }
  const staff = workers.value.value?.items;
  if (staff && read) {
    const able = staff.some((worker) => worker.state === "active");
    const waiting = read.states.queued + read.states.retrying + read.states.scheduled;
    if (!able && waiting > 0) {
      told.push(`No worker is running, ${count(waiting)} jobs wait. Start one: observatory up MODULE`);
    }
    told.push(...missing(staff, serverNow.value));
  }
  const failures = read && !alerting()?.shown.some(isOfFailures) ? failuresTold(read) : null;
  if (failures) told.push(failures);
  const paused = queues.value.value?.items.filter((queue) => queue.paused) ?? [];
  if (paused.length) told.push(`Paused: ${paused.map((queue) => queue.name).join(", ")}.`);
  return told;
}

/** Alerts that fire, the worst first; null where nobody knows of any. */
function alerting(): { shown: Alert[]; silenced: number; unsure: string | null } | null {
  const read = alerts.value.value;
  if (!read || read.source === "none") return null;
  const unsure = read.detail;
  const shown = read.items.filter((alert) => alert.name !== WATCHDOG);
  return { shown, silenced: read.silenced ?? 0, unsure };
}

function silencedAlerts(silenced: number): string {
  return silenced === 1 ? "1 alert fires and is silenced." : `${count(silenced)} alerts fire and are silenced.`;
}

function AlertLine({ alert }: { alert: Alert }) {
  const since = (serverNow.value - Date.parse(alert.since)) / 1000;
  return (
    <li data-severity={alert.severity}>
      <strong>{alert.severity}</strong> <span title={alert.description}>{alert.summary}</span>{" "}
      <span class="note">firing for {elapsed(since)}</span>{" "}
      {alert.runbook && (
        <a href={/^https?:/.test(alert.runbook) ? alert.runbook : url(alert.runbook)} rel="noreferrer">
          what to do
        </a>
      )}
    </li>
  );
}

const SIGN = { good: "✔", bad: "✖", unsure: "!" } as const;

/** The sign stands beside a word, so that no colour has to be told apart. */
function Sign({ tone }: { tone: keyof typeof SIGN }) {
  return (
    <span class="sign" aria-hidden="true">
      {SIGN[tone]}{" "}
    </span>
  );
}

/** Said only where everything that could say otherwise has been read, and lately. */
function Well() {
  const read = [stats, queues, workers, alerts].every((one) => one.value.value && !one.error.value);
  if (!read || live.connection.value.phase !== "live") return null;
  const known = alerting();
  if (reasons().length || known?.shown.length || known?.silenced || known?.unsure) return null;
  // A few jobs that fail are told beside it, and are not the system's fault.
  const all = failingCount(stats.value.value?.states) === 0;
  return (
    <span class="well">
      <strong>
        <Sign tone="good" />
        {all ? "All is well" : "The system is well"}
      </strong>
      {known === null && ", as far as is known here: nobody tells of alerts"}
    </span>
  );
}

/** One word on how it is, that opens into why. */
function Verdict() {
  const told = reasons();
  const known = alerting();
  const shown = known?.shown ?? [];
  const unsure = known?.unsure ?? null;
  const silenced = known?.silenced ? silencedAlerts(known.silenced) : null;
  const [open, setOpen] = useState(true);
  if (!told.length && !shown.length && unsure === null) {
    return silenced ? <p class="verdict note">{silenced}</p> : null;
  }
  const critical = shown.some((alert) => alert.severity === "critical");
  const reasonCount = told.length + shown.length;
  return (
    <details class="verdict" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary data-tone={critical ? "bad" : "unsure"}>
        <Sign tone={critical ? "bad" : "unsure"} />
        {critical ? "Critical" : reasonCount ? "Degraded" : "Unsure"}:{" "}
        {reasonCount === 1 ? "1 reason" : reasonCount ? `${count(reasonCount)} reasons` : "alerts may be missing"}
      </summary>
      {(shown.length > 0 || unsure !== null) && (
        <ul class="alerts" aria-label="Alerts">
          {shown.map((alert) => (
            <AlertLine key={`${alert.name} ${Object.values(alert.labels).join(" ")}`} alert={alert} />
          ))}
          {unsure !== null && <li data-severity="unknown">Alerts may be missing: {unsure}</li>}
        </ul>
      )}
      {silenced && <p class="note">{silenced}</p>}
      {told.length > 0 && (
        <ul class="reasons">
          {told.map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
        </ul>
      )}
    </details>
  );
}

/** What stays in sight below this line has to know where that is: it grows with what it tells. */
function useHeight() {
  const line = useRef<HTMLElement>(null);
  useLayoutEffect(() => {
    const sizes = new ResizeObserver(() => {
      const height = `${line.current!.offsetHeight}px`;
      document.documentElement.style.setProperty("--health-height", height);
    });
    sizes.observe(line.current!);
    return () => sizes.disconnect();
  }, []);
  return line;
}

export function Health() {
  const line = useHeight();
  return (
    <section class="health" aria-label="Health" ref={line}>
      <p class="line">
        <Line />
        <Well />
        <Figures />
      </p>
      <KeyForm />
      <Verdict />
    </section>
  );
}
