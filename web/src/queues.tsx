/** Every queue: what waits, since when, what comes in and goes out, when it will be empty. */
import { useLayoutEffect, useState } from "preact/hooks";
import { jobsHref } from "./address";
import { post } from "./api";
import { Calls } from "./byhand";
import type { Queue, QueueState } from "./contracts";
import { secondsToDrain } from "./drain";
import { count, duration, elapsed, rate, visible } from "./format";
import { Question } from "./question";
import { pointTo } from "./rows";
import { queues, serverNow } from "./session";
import { queueCall } from "./shell";
import { ESTIMATED } from "./tiles";
import { Text } from "./text";
import { Again, Unread } from "./unread";

function Drain({ queue }: { queue: Queue }) {
  const seconds = secondsToDrain(queue);
  if (seconds === 0) return <>–</>;
  if (seconds !== null) return <>{duration(seconds)}</>;
  return <span title="As much comes in as goes out, or more">{queue.paused ? "paused" : "grows"}</span>;
}

export function QueueTable({ act = false }: { act?: boolean }) {
  const read = queues.value.value;
  if (!read) return <Unread error={queues.error.value} />;
  const { items, asOf } = read;
  if (!items.length) return <p class="empty">No queue yet: job types name them, and jobs do.</p>;
  // On a phone there is room for it or for the buttons.
  const beside = act ? "number wide" : "number";
  const passed = (serverNow.value - Date.parse(asOf)) / 1000 || 0;
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
            <th scope="col" class="number wide">
              Running
            </th>
            <th scope="col" class="number wide roomy">
              Retrying
            </th>
            <th scope="col" class={beside}>
              Failed
            </th>
            <th scope="col" class="number">
              Oldest
            </th>
            <th scope="col" class="number wide roomier">
              In/s
            </th>
            <th scope="col" class="number wide roomier">
              Out/s
            </th>
            <th scope="col" class="number wide" title="As things go: queued, by how much more goes out than comes in">
              Empty in
            </th>
            <th scope="col" class="number wide roomy" title={ESTIMATED}>
              p95 wait
            </th>
            <th scope="col" class="number wide roomy" title={ESTIMATED}>
              p95 run
            </th>
            {act && <th scope="col">Action</th>}
          </tr>
        </thead>
        <tbody>
          {items.map((queue) => (
            <tr key={queue.name} data-queue={queue.name} data-row>
              <th scope="row" class="one-line">
                <a href={jobsHref({ queue: queue.name })} title={visible(queue.name)}>
                  <Text of={queue.name} limit={40} />
                </a>
                {queue.paused && <span class="paused">‖ paused</span>}
              </th>
              <td class="number">{count(queue.states.queued)}</td>
              <td class="number wide">{count(queue.states.running)}</td>
              <td class="number wide roomy">{count(queue.states.retrying)}</td>
              <td class={beside}>{count(queue.states.failed)}</td>
              <td class="number">
                {queue.oldestAgeSeconds === null ? "–" : elapsed(queue.oldestAgeSeconds + passed)}
              </td>
              <td class="number wide roomier">{rate(queue.createdPerSecond)}</td>
              <td class="number wide roomier">{rate(queue.finishedPerSecond)}</td>
              <td class="number wide">
                <Drain queue={queue} />
              </td>
              <td class="number wide roomy">{duration(queue.waitSeconds?.p95)}</td>
              <td class="number wide roomy">{duration(queue.runSeconds?.p95)}</td>
              {act && (
                <td>
                  <Pause queue={queue} />
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Pause({ queue }: { queue: Queue }) {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const [failed, setFailed] = useState("");
  const act = async (verb: "pause" | "resume") => {
    setBusy(true);
    setAsking(false);
    setFailed("");
    try {
      await post<QueueState>(`queues/${encodeURIComponent(queue.name)}/${verb}`);
    } catch (reason) {
      setFailed(reason instanceof Error ? reason.message : String(reason));
    }
    setBusy(false);
    queues.want();
  };
  return (
    <span class="asking">
      <Question
        asking={asking && !queue.paused}
        label={`Pause ${queue.name}?`}
        yes="Yes, pause it"
        danger
        onYes={() => void act("pause")}
        onNo={() => setAsking(false)}
        title={queue.paused ? "Its jobs are taken again" : "Its jobs wait until it is resumed; what runs goes on"}
        disabled={false}
        busy={busy}
        onPress={() => (queue.paused ? void act("resume") : setAsking(true))}
      >
        {queue.paused ? "Resume" : "Pause…"}
      </Question>
      {failed && (
        <span class="warning" role="alert">
          <Text of={failed} />
        </span>
      )}
    </span>
  );
}

function ByHand({ asked }: { asked: string }) {
  const items = queues.value.value?.items ?? [];
  const [open, setOpen] = useState(false);
  const [name, setName] = useState(asked);
  const meant = items.find((one) => one.name === name) ?? items[0];
  if (!meant) return null;
  return (
    <details class="by-hand" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>The same from a shell</summary>
      {open && (
        <>
          <label class="field">
            <span>Queue</span>
            <select name="queue" value={meant.name} onChange={(event) => setName(event.currentTarget.value)}>
              {items.map((one) => (
                <option key={one.name} value={one.name}>
                  {visible(one.name)}
                </option>
              ))}
            </select>
          </label>
          <Calls of={[queueCall(meant.paused ? "resume" : "pause", meant.name)]} />
        </>
      )}
    </details>
  );
}

/** `asked`: the queue that a link led to. */
export function Queues({ asked }: { asked: string }) {
  const known = queues.value.value?.items.some((queue) => queue.name === asked) ?? false;
  useLayoutEffect(() => {
    const row = document.querySelector<HTMLElement>(`main tr[data-queue="${CSS.escape(asked)}"]`);
    if (row) pointTo(row);
  }, [known]);
  return (
    <>
      <h1>Queues</h1>
      <Again error={queues.error.value} read={queues.value.value} />
      <QueueTable act />
      <p class="note">
        A paused queue accepts jobs; processors leave them alone until it is resumed.
      </p>
      <ByHand asked={asked} />
    </>
  );
}
