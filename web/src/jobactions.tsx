/** What may be done with a job: run it again, also with another payload; cancel it. */
import { useLayoutEffect, useState } from "preact/hooks";
import { jobHref } from "./address";
import { key, post, postText, url } from "./api";
import type { Accepted, CancelAccepted, Job } from "./contracts";
import { shellQuoted } from "./format";
import { bind } from "./keyboard";
import { urlOption } from "./shell";
import { isTerminal, mayCancel, mayRetry } from "./state";
import { Copy, Text } from "./text";

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
        { keys: "r", about: "retry this job", run: askOrRetry, when: () => retry && !busy },
        { keys: "c", about: "cancel this job, after a question", run: () => setAsking(true), when: () => cancel },
      ]),
    [retry, cancel, busy],
  );
  return (
    <section class="actions" aria-label="Actions">
      <div class="buttons">
        {again && retry ? (
          <span class="asking" role="group" aria-label="Run it again though it completed?">
            <button type="button" disabled={busy} onClick={() => void act("retry")}>
              Yes, run it again
            </button>
            <button type="button" onClick={() => setAgain(false)}>
              No
            </button>
          </span>
        ) : (
        <button
          type="button"
          disabled={busy || !retry}
          title={retry ? "Queue this job again" : `A ${job.state} job cannot be retried`}
          onClick={askOrRetry}
        >
          {job.state === "retrying" ? "Retry now" : job.state === "completed" ? "Retry…" : "Retry"}
        </button>
        )}
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
      {isTerminal(job.state) && <Edit job={job} />}
      <details class="by-hand">
        <summary>The same from a shell</summary>
        {retry && <Command verb="retry" id={job.id} />}
        {cancel && <Command verb="cancel" id={job.id} />}
        <Command verb="show" id={job.id} />
      </details>
    </section>
  );
}

/** Run a descendant of a job with another payload. */
function Edit({ job }: { job: Job }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="by-hand" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Retry with another payload</summary>
      {open && <Editor job={job} />}
    </details>
  );
}

function Editor({ job }: { job: Job }) {
  const [text, setText] = useState(() => JSON.stringify(job.payload, null, 2));
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState("");
  const [made, setMade] = useState("");
  const send = async (event: Event) => {
    event.preventDefault();
    setFailed("");
    setMade("");
    try {
      JSON.parse(text);
    } catch (reason) {
      setFailed(`This is no JSON: ${reason instanceof Error ? reason.message : String(reason)}`);
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
          onInput={(event) => setText(event.currentTarget.value)}
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
    </form>
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
