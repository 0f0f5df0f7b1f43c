/** Retry and cancel for many jobs: the buttons, the question with the exact count, the progress. */
import { useMemo } from "preact/hooks";
import { key, url } from "./api";
import { Bulk, type Target } from "./bulk";
import type { BulkAction } from "./contracts";
import { count, shellQuoted } from "./format";
import { Copy } from "./text";

const VERB: Record<BulkAction, { will: string; button: string; does: string; did: string }> = {
  retry: { will: "run again", button: "Run again", does: "Running again", did: "Queued again" },
  cancel: { will: "be cancelled", button: "Cancel", does: "Cancelling", did: "Cancelled, or told to stop" },
};

const jobs = (n: number) => (n === 1 ? "1 job" : `${count(n)} jobs`);

interface BulkBarProps {
  /** "these", "of this filter": what the buttons act on, in words. */
  what: string;
  target: () => Target;
  actions?: readonly BulkAction[];
  after: () => void;
}

export function BulkBar({ what, target, actions = ["retry", "cancel"], after }: BulkBarProps) {
  const bulk = useMemo(() => new Bulk(), []);
  const state = bulk.state.value;
  const confirm = async () => {
    await bulk.confirm();
    after();
  };
  const buttons = state.phase === "idle" || state.phase === "done" || state.phase === "failed";
  return (
    <div class="bulk" role="group" aria-label={`Actions on ${what}`}>
      {buttons &&
        actions.map((action) => (
          <button key={action} type="button" onClick={() => void bulk.ask(action, target())}>
            {action === "retry" ? "Retry" : "Cancel"} {what}…
          </button>
        ))}
      {state.phase === "counting" && <span class="faint">Counting…</span>}
      {state.phase === "asking" && state.count === 0 && (
        <span class="asking">
          {state.complete
            ? `No job of these can ${VERB[state.action].will}.`
            : `None found among the jobs that were looked into.`}{" "}
          <button type="button" onClick={() => bulk.stop()}>
            Well
          </button>
        </span>
      )}
      {state.phase === "asking" && state.count > 0 && (
        <span class="asking" role="group" aria-label="Sure?">
          <strong>
            {state.complete ? jobs(state.count) : `More than ${jobs(state.count)}`} will{" "}
            {VERB[state.action].will}.
          </strong>
          <button
            type="button"
            class={state.action === "cancel" ? "danger" : undefined}
            onClick={() => void confirm()}
          >
            {VERB[state.action].button} {state.complete ? jobs(state.count) : "all of them"}
          </button>
          <button type="button" onClick={() => bulk.stop()}>
            No
          </button>
          <details class="by-hand">
            <summary>The same from a shell</summary>
            <Curl action={state.action} target={state.target} />
          </details>
        </span>
      )}
      {state.phase === "doing" && (
        <span class="asking">
          {VERB[state.action].does}: {count(state.changed)}
          {state.of !== null && <> of {count(state.of)}</>}
          <progress
            max={state.of ?? undefined}
            value={state.of === null ? undefined : state.changed + state.skipped}
            aria-label="Done so far"
          />
          <button type="button" onClick={() => bulk.stop()}>
            Stop
          </button>
        </span>
      )}
      <span role="status" class={state.phase === "failed" ? "warning" : "answer"}>
        {state.phase === "done" &&
          `${VERB[state.action].did}: ${jobs(state.changed)}${
            state.skipped ? `; ${count(state.skipped)} had changed meanwhile` : ""
          }.`}
        {state.phase === "failed" &&
          `${state.changed ? `${jobs(state.changed)} done, then: ` : ""}${state.error.message}`}
      </span>
    </div>
  );
}

function Curl({ action, target }: { action: BulkAction; target: Target }) {
  const auth = key.value ? ` -H "Authorization: Bearer $OBSERVATORY_API_KEY"` : "";
  const sent = shellQuoted(JSON.stringify({ action, ...target }));
  const command = `curl -sS -H "Content-Type: application/json"${auth} -d ${sent} ${shellQuoted(url("jobs/actions"))}`;
  return (
    <p class="command">
      <code>{command}</code> <Copy text={command} what="the command" />
    </p>
  );
}
