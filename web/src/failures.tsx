/** What fails, grouped by error: how many, since when, whether it grows. */
import { useEffect, useMemo } from "preact/hooks";
import { jobHref, jobsHref } from "./address";
import { get } from "./api";
import { Age, Icon } from "./badge";
import { BulkButtons } from "./bulkbar";
import type { FailureGroup, Page } from "./contracts";
import { count } from "./format";
import { places } from "./places";
import { Reading } from "./reading";
import { failures as newest, listen } from "./session";
import { Text } from "./text";
import { Again, Unread } from "./unread";

const GROUPS_MAX = 200;

/** What stands in the columns of times; not when an error was seen for the first time, which nothing keeps. */
const ABOUT = {
  lastHour:
    "Jobs of the group that failed for good within the last hour, also those that had failed before and were run again",
  oldest:
    "Of the jobs that fail now, how long ago the first of them last failed. One that is run again and fails again counts anew: the error may be older",
  newest: "How long ago a job of the group failed last, for the first time or again",
};

export function FailureTable({ items, act }: { items: readonly FailureGroup[]; act?: () => void }) {
  return (
    <div class="table-box">
      <table class="failures">
        <caption class="unseen">Failing jobs, grouped by error</caption>
        <thead>
          <tr>
            <th scope="col">Error</th>
            <th scope="col" class="wide">
              Type
            </th>
            <th scope="col" class="number">
              Jobs
            </th>
            <th scope="col" class="number wide" title={ABOUT.lastHour}>
              Last hour
            </th>
            <th scope="col" class="number wide roomier" title={ABOUT.oldest}>
              Oldest
            </th>
            <th scope="col" class="number" title={ABOUT.newest}>
              Newest
            </th>
            {act && <th scope="col">Run again</th>}
          </tr>
        </thead>
        <tbody>
          {items.map((group) => (
            <Group key={group.fingerprint} group={group} act={act} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Group({ group, act }: { group: FailureGroup; act?: (() => void) | undefined }) {
  const { failed, retrying } = group.states;
  return (
    <tr data-fingerprint={group.fingerprint} data-row>
      <td class="name">
        <a href={jobHref(group.sampleJobId)} title="Its latest job, with the traceback">
          <Text of={group.errorType} limit={80} />
        </a>
        <span class="row-error">
          <Text of={group.message} limit={160} />
        </span>
      </td>
      <td class="wide one-line">
        <a href={jobsHref({ states: ["failed", "retrying"], type: group.type })}>
          <Text of={group.type} limit={60} />
        </a>
      </td>
      <td class="number">
        <a
          href={jobsHref({ states: ["failed", "retrying"], fingerprint: group.fingerprint })}
          title="All jobs of this group"
        >
          {failed > 0 && (
            <span class="amount" title={`${failed} failed`}>
              {count(failed)} <Icon state="failed" />
              <span class="unseen">failed</span>
            </span>
          )}
          {retrying > 0 && (
            <span class="amount" title={`${retrying} retrying`}>
              {count(retrying)} <Icon state="retrying" />
              <span class="unseen">retrying</span>
            </span>
          )}
        </a>
      </td>
      <td class="number wide">
        <Trend group={group} />
      </td>
      <td class="number wide roomier">
        <Age of={group.firstSeenAt} />
      </td>
      <td class="number">
        <Age of={group.lastSeenAt} />
      </td>
      {act && (
        <td>
          {failed > 0 && (
            <BulkButtons
              what="them"
              named={`error:${group.fingerprint} (${group.errorType})`}
              actions={["retry"]}
              target={() => ({ filter: { state: ["failed"], fingerprint: group.fingerprint } })}
              after={act}
            />
          )}
        </td>
      )}
    </tr>
  );
}

/** More, fewer or as many as in the hour before; the word for those who see no arrow. */
function Trend({ group }: { group: FailureGroup }) {
  const { lastHour, hourBefore } = group.recent;
  const way = lastHour > hourBefore ? "more" : lastHour < hourBefore ? "fewer" : "as many";
  const arrow = { more: "▲", fewer: "▼", "as many": "=" }[way];
  return (
    <span
      class="trend"
      data-way={way}
      title={`${count(lastHour)} in the last hour, ${count(hourBefore)} in the hour before`}
    >
      {count(lastHour)} <span aria-hidden="true">{arrow}</span>
      <span class="unseen">{way} than the hour before</span>
    </span>
  );
}

export function Failures() {
  const reading = useMemo(
    () =>
      places.keep("failures", () => ({
        value: new Reading<Page<FailureGroup>>(() => get(`failures?limit=${GROUPS_MAX}`), { spacingMs: 2000 }),
      })),
    [],
  );
  useEffect(() => {
    const stops = [
      reading.use(),
      listen((events) => {
        if (events.some((event) => event.type.startsWith("job."))) reading.want();
      }),
    ];
    return () => stops.forEach((stop) => stop());
  }, [reading]);
  const read = reading.value.value;
  const after = () => {
    reading.want();
    newest.want();
  };
  return (
    <>
      <div class="heading">
        <h1>Failures</h1>
        <span class="faint">the newest 10,000 failing jobs, grouped by type, error and message</span>
        <a href={jobsHref({ states: ["failed"] })}>All failed jobs</a>
      </div>
      <Again error={reading.error.value} read={read} />
      {!read && <Unread error={reading.error.value} />}
      {read && !read.items.length && <p class="empty">Nothing fails.</p>}
      {read && read.items.length > 0 && (
        <>
          <FailureTable items={read.items} act={after} />
          <p class="note">
            Times and counts are of each job's last failure. One that is run again and fails again counts
            anew, so an error may be older than its oldest failure here, and what failed within the hour
            need not be new.
          </p>
        </>
      )}
    </>
  );
}
