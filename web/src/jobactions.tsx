/** What may be done with a job: run it again, also with another payload; cancel it. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { jobHref } from "./address";
import { post, postText } from "./api";
import { Calls } from "./byhand";
import type { Accepted, CancelAccepted, Job } from "./contracts";
import { bind, declare } from "./keyboard";
import { Question } from "./question";
import { jobCall } from "./shell";
import { isTerminal, mayCancel, mayRetry } from "./state";
import { Text } from "./text";

const RETRY = declare("A job", "r", "retry this job");
const CANCEL = declare("A job", "c", "cancel this job, after a question");
const CLOSE = declare("A job", "Escape", "close the payload");

type Told = { good: boolean; text: string };

/** Retry and cancel, what came of them, and the same by hand. */
export function Actions({ job, after }: { job: Job; after: () => void }) {
  const [busy, setBusy] = useState(false);
  const [told, setTold] = useState<Told | null>(null);
  const [asking, setAsking] = useState(false);
  const [again, setAgain] = useState(false);
  const act = async (verb: "retry" | "cancel") => {
    setBusy(true);
    setAsking(false);
    setAgain(false);
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
  // What went well is not done twice by a slip.
  const askOrRetry = () => (job.state === "completed" ? setAgain(true) : void act("retry"));
  useLayoutEffect(
    () =>
      bind([
        { ...RETRY, run: askOrRetry, when: () => retry && !busy },
        { ...CANCEL, run: () => setAsking(true), when: () => cancel },
      ]),
    [retry, cancel, busy],
  );
  const verbs = [...(retry ? ["retry" as const] : []), ...(cancel ? ["cancel" as const] : []), "show" as const];
  return (
    <section class="actions" aria-label="Actions">
      <div class="buttons">
        <Question
          asking={again && retry}
          label="Run it again though it completed?"
          yes="Yes, run it again"
          onYes={() => void act("retry")}
          onNo={() => setAgain(false)}
          title={retry ? "Queue this job again" : `A ${job.state} job cannot be retried`}
          disabled={!retry}
          busy={busy}
          onPress={askOrRetry}
        >
          {job.state === "retrying" ? "Retry now" : job.state === "completed" ? "Retry…" : "Retry"}
        </Question>
        <Question
          asking={asking && cancel}
          label="Cancel this job?"
          yes="Yes, cancel it"
          danger
          onYes={() => void act("cancel")}
          onNo={() => setAsking(false)}
          title={cancel ? "Stop this job" : `A ${job.state} job cannot be cancelled`}
          disabled={!cancel}
          busy={busy}
          onPress={() => setAsking(true)}
        >
          Cancel…
        </Question>
        <span role="status" class={told && !told.good ? "warning" : "answer"}>
          {told && <Text of={told.text} limit={500} />}
        </span>
      </div>
      {isTerminal(job.state) && <Edit job={job} />}
      <details class="by-hand">
        <summary>The same from a shell</summary>
        <Calls of={verbs.map((verb) => jobCall(verb, job.id))} />
      </details>
    </section>
  );
}

/** Run a descendant of a job with another payload. */
function Edit({ job }: { job: Job }) {
  const [open, setOpen] = useState(false);
  // Kept while it is closed: Escape closes it, and must not throw away what was written.
  const [text, setText] = useState(() => JSON.stringify(job.payload, null, 2));
  const box = useRef<HTMLDetailsElement>(null);
  useLayoutEffect(() => {
    if (!open) return undefined;
    const close = () => {
      box.current!.open = false;
      box.current!.querySelector("summary")!.focus();
    };
    return bind([{ ...CLOSE, run: close }]);
  }, [open]);
  return (
    <details ref={box} class="by-hand" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Retry with another payload</summary>
      {open && <Editor job={job} text={text} setText={setText} />}
    </details>
  );
}

function notJson(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (reason) {
    return reason instanceof Error ? reason.message : String(reason);
  }
}

interface EditorProps {
  job: Job;
  text: string;
  setText: (text: string) => void;
}

function Editor({ job, text, setText }: EditorProps) {
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState("");
  const [made, setMade] = useState("");
  const send = async (event: Event) => {
    event.preventDefault();
    setFailed("");
    setMade("");
    const fault = notJson(text);
    if (fault) {
      setFailed(`This is no JSON: ${fault}`);
      return;
    }
    setBusy(true);
    try {
      // As typed: a number beyond what JavaScript holds stays what it is.
      const path = `jobs/${encodeURIComponent(job.id)}/retry`;
      setMade((await postText<Accepted>(path, `{"payload": ${text}}`)).jobId);
    } catch (reason) {
      setFailed(reason instanceof Error ? reason.message : String(reason));
    }
    setBusy(false);
  };
  return (
    <form class="editor" onSubmit={(event) => void send(event)}>
      <label>
        <span>Payload, as JSON</span>
        <textarea
          rows={Math.min(20, text.split("\n").length + 1)}
          value={text}
          spellcheck={false}
          onInput={(event) => {
            setText(event.currentTarget.value);
            // It was said of what stood there before.
            setFailed("");
          }}
        />
      </label>
      <p class="buttons">
        <button type="submit" disabled={busy}>
          Submit as a new job
        </button>
        <span role="status">
          {failed && (
            <span class="warning">
              <Text of={failed} limit={800} />
            </span>
          )}
          {made && (
            <span class="answer">
              Accepted: <a href={jobHref(made)}>{made}</a>
            </span>
          )}
        </span>
      </p>
      {!notJson(text) && (
        <>
          <p class="note">The same from a shell:</p>
          <Calls of={[jobCall("retry", job.id, text)]} />
        </>
      )}
    </form>
  );
}
