/** Retry and cancel for many jobs: the buttons, and the panel that asks, tells and stays. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { bulk, type Target } from "./bulk";
import { Calls } from "./byhand";
import type { BulkAction } from "./contracts";
import { count } from "./format";
import { bind } from "./keyboard";
import { NO, useQuestion } from "./question";
import { bulkCall } from "./shell";
import { Text } from "./text";

const VERB: Record<BulkAction, { will: string; button: string; does: string; did: string }> = {
  retry: { will: "run again", button: "Run again", does: "Running again", did: "Queued again" },
  cancel: { will: "be cancelled", button: "Cancel", does: "Cancelling", did: "Cancelled, or told to stop" },
};

const jobs = (n: number) => (n === 1 ? "1 job" : `${count(n)} jobs`);

interface BulkButtonsProps {
  /** "them", "all of this filter": what the buttons act on, in words. */
  what: string;
  /** The same where the question stands alone: the filter as it was typed. */
  named: string;
  target: () => Target;
  /** Why they cannot be used now. */
  off?: string;
  actions?: readonly BulkAction[];
  after: () => void;
}

export function BulkButtons({ what, named, target, off, actions = ["retry", "cancel"], after }: BulkButtonsProps) {
  const busy = bulk.state.value.phase === "doing";
  return (
    <span class="bulk" role="group" aria-label={`Actions on ${what}`}>
      {actions.map((action) => (
        <button
          key={action}
          type="button"
          disabled={busy || off !== undefined}
          title={off}
          onClick={() => void bulk.ask(action, target(), after, named)}
        >
          {action === "retry" ? "Retry" : "Cancel"} {what}…
        </button>
      ))}
    </span>
  );
}

/** Above every view, so that what goes on is told wherever the reader is. */
export function BulkPanel() {
  const { phase } = bulk.state.value;
  useLayoutEffect(() => {
    // The question has its own.
    if (phase === "idle" || phase === "doing" || phase === "asking") return undefined;
    return bind([{ ...NO, run: () => bulk.stop() }]);
  }, [phase]);
  if (phase === "idle") return null;
  return (
    <section class="bulk-panel" aria-label="Many jobs at once">
      {phase === "counting" && <span role="status">Counting…</span>}
      {phase === "asking" && <Question />}
      {phase === "doing" && <Doing />}
      {(phase === "done" || phase === "stopped") && <Outcome />}
    </section>
  );
}

function Question() {
  const state = bulk.state.value;
  const no = useRef<HTMLButtonElement>(null);
  useQuestion(() => bulk.stop(), no);
  if (state.phase !== "asking") return null;
  const { action, complete } = state;
  const none = state.count === 0 && complete;
  return (
    <div role="alertdialog" aria-labelledby="bulk-question" aria-describedby="bulk-meant" class="asking">
      <strong id="bulk-question">
        {none
          ? `No job of these can ${VERB[action].will}.`
          : `${complete ? "" : "More than "}${jobs(state.count)} will ${VERB[action].will}.`}
      </strong>
      <span class="meant" id="bulk-meant">
        <Text of={state.what} limit={200} />
      </span>
      {!none && (
        <button
          type="button"
          class={action === "cancel" ? "danger" : undefined}
          onClick={() => void bulk.confirm()}
        >
          {VERB[action].button} {complete ? jobs(state.count) : "all of them"}
        </button>
      )}
      <button type="button" ref={no} onClick={() => bulk.stop()}>
        {none ? "Well" : "No"}
      </button>
      {!none && (
        <details class="by-hand">
          <summary>The same from a shell</summary>
          <ByHand action={action} target={state.target} />
        </details>
      )}
    </div>
  );
}

function Doing() {
  const state = bulk.state.value;
  if (state.phase !== "doing") return null;
  const { of } = state;
  return (
    <div class="asking">
      {VERB[state.action].does}: {count(state.changed)}
      {of !== null && <> of {count(of)}</>}
      <progress
        max={of ?? undefined}
        value={of === null ? undefined : state.changed + state.skipped}
        aria-label="Done so far"
      />
      <button type="button" onClick={() => bulk.stop()}>
        Stop
      </button>
    </div>
  );
}

function Outcome() {
  const state = bulk.state.value;
  if (state.phase !== "done" && state.phase !== "stopped") return null;
  const meanwhile = state.skipped ? `; ${count(state.skipped)} had changed meanwhile` : "";
  const error = state.phase === "stopped" ? state.error : null;
  return (
    <div class="asking">
      <span role="status" class={error ? "warning" : "answer"}>
        {state.phase === "stopped" && "Stopped. "}
        {`${VERB[state.action].did}: ${jobs(state.changed)}${meanwhile}.`}
        {error && ` Then: ${error.message}`}
      </span>
      {bulk.mayGoOn && (
        <button type="button" onClick={() => void bulk.goOn()}>
          Go on
        </button>
      )}
      <button type="button" class="quiet" onClick={() => bulk.stop()}>
        Close
      </button>
    </div>
  );
}

function ByHand({ action, target }: { action: BulkAction; target: Target }) {
  return (
    <>
      <Calls of={[bulkCall(action, target)]} />
      {"filter" in target && (
        <p class="note">
          curl does 500 jobs a call: send <code>next</code> of the answer as <code>cursor</code> until it is
          null. The command line does that by itself.
        </p>
      )}
    </>
  );
}
