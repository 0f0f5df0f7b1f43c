/** Who runs the jobs: busy, idle, leaving, or not heard of. */
import { useEffect } from "preact/hooks";
import { jobsHref } from "./address";
import { Age } from "./badge";
import type { Worker } from "./contracts";
import { count, moment } from "./format";
import { workers } from "./session";
import { inOrder, standing, type Standing } from "./staff";
import { Text } from "./text";
import { Again, Unread } from "./unread";

const ABOUT: Record<Standing, string> = {
  busy: "runs jobs and has slots free",
  full: "every slot runs a job",
  idle: "waits for jobs",
  draining: "lets its jobs end, takes no more",
  stale: "has not been heard of for a lease",
  stopped: "ended in good order",
};
const SIGN: Record<Standing, string> = {
  busy: "▶",
  full: "■",
  idle: "○",
  draining: "▽",
  stale: "!",
  stopped: "–",
};

function Row({ worker }: { worker: Worker }) {
  const at = standing(worker);
  return (
    <tr data-worker={worker.id} data-standing={at} data-row>
      <td>
        <span class="standing-sign" title={ABOUT[at]}>
          <span aria-hidden="true">{SIGN[at]}</span> {at}
        </span>
        {worker.rescued && <span class="faint"> rescued</span>}
      </td>
      <th scope="row" class="one-line">
        <a href={jobsHref({ worker: worker.id })} title="Jobs that it runs or last ran">
          <Text of={`${worker.host}:${worker.pid}`} limit={60} />
        </a>
      </th>
      <td class="number">
        {count(worker.running)} of {count(worker.concurrency)}
        {worker.state === "active" && worker.concurrency > 0 && (
          <meter min={0} max={worker.concurrency} value={worker.running} aria-label="slots busy" />
        )}
      </td>
      <td class="wide">
        <Names of={worker.queues} none="every queue" />
      </td>
      <td class="wide">
        <Names of={worker.jobTypes} none="no job type" />
      </td>
      <td class="number wide">
        <span title={moment(worker.startedAt)}>
          <Age of={worker.startedAt} />
        </span>
      </td>
      <td class="number">
        <Age of={worker.lastSeenAt} />
      </td>
    </tr>
  );
}

const NAMES_SHOWN = 4;

function Names({ of, none }: { of: readonly string[]; none: string }) {
  if (!of.length) return <span class="faint">{none}</span>;
  const more = of.length - NAMES_SHOWN;
  return (
    <span title={of.length > NAMES_SHOWN ? of.slice(0, 50).join(", ") : undefined}>
      {of.slice(0, NAMES_SHOWN).map((name, index) => (
        <span key={name}>
          {index > 0 && ", "}
          <Text of={name} limit={40} />
        </span>
      ))}
      {more > 0 && <span class="faint"> and {count(more)} more</span>}
    </span>
  );
}

export function Workers() {
  useEffect(() => workers.use(), []);
  const read = workers.value.value;
  return (
    <>
      <h1>Workers</h1>
      <Again error={workers.error.value} read={read} />
      {!read && <Unread error={workers.error.value} />}
      {read && !read.items.length && (
        <p class="empty">
          No worker has been seen within a day. Start one: <code>observatory up MODULE</code>
        </p>
      )}
      {read && read.items.length > 0 && (
        <div class="table-box">
          <table>
            <caption class="unseen">Workers</caption>
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Worker</th>
                <th scope="col" class="number">
                  Slots busy
                </th>
                <th scope="col" class="wide">
                  Queues
                </th>
                <th scope="col" class="wide">
                  Job types
                </th>
                <th scope="col" class="number wide">
                  Started
                </th>
                <th scope="col" class="number">
                  Last seen
                </th>
              </tr>
            </thead>
            <tbody>
              {inOrder(read.items).map((worker) => (
                <Row key={worker.id} worker={worker} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
