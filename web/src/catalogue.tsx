/** Every contract that is served, readable: schemas, interfaces, and the payloads of job types. */
import { useEffect, useMemo } from "preact/hooks";
import { contractHref, jobsHref } from "./address";
import { ApiError, get, url } from "./api";
import type { ContractEntry, Page } from "./contracts";
import { Reading } from "./reading";
import { descriptionOf, fields } from "./schema";
import { Block, Copy, Text } from "./text";
import { Again, Unread } from "./unread";

const path = (entry: ContractEntry) => entry.href.replace(/^\/contracts\//, "");

function folder(entry: ContractEntry): string {
  if (entry.kind === "jobType") return "Payloads of job types";
  const [first, rest] = entry.name.split("/");
  return { events: "Events", http: "HTTP bodies", openapi: "Interfaces" }[rest ? first! : ""] ?? "Words they share";
}

const FOLDERS = ["Payloads of job types", "Interfaces", "Events", "HTTP bodies", "Words they share"];

export function Contracts({ shown }: { shown: string | null }) {
  const reading = useMemo(() => new Reading<Page<ContractEntry>>(() => get("contracts"), { everyMs: 30_000 }), []);
  useEffect(reading.use, [reading]);
  const read = reading.value.value;
  const entry = read?.items.find((one) => path(one) === shown);
  if (shown !== null) {
    return (
      <>
        <p class="trail">
          <a href="#/contracts">Contracts</a> › <code>{shown}</code>
        </p>
        <Contract key={shown} path={shown} entry={entry} />
      </>
    );
  }
  return (
    <>
      <h1>Contracts</h1>
      <Again error={reading.error.value} read={read} />
      {!read && <Unread error={reading.error.value} />}
      {read &&
        FOLDERS.map((name) => {
          const items = read.items.filter((one) => folder(one) === name);
          return (
            items.length > 0 && (
              <section key={name} aria-label={name}>
                <h2>{name}</h2>
                <div class="table-box">
                  <table class="contracts">
                    <caption class="unseen">{name}</caption>
                    <thead>
                      <tr>
                        <th scope="col">Contract</th>
                        <th scope="col">Title</th>
                        <th scope="col" class="number">
                          Version
                        </th>
                      </tr>
                    </thead>
                    <tbody>
                      {items.map((one) => (
                        <tr key={one.href} data-row>
                          <th scope="row">
                            <a href={contractHref(path(one))}>
                              <Text of={one.name} limit={120} />
                            </a>
                          </th>
                          <td>
                            <Text of={one.title} limit={120} />
                          </td>
                          <td class="number">{one.version}</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </section>
            )
          );
        })}
    </>
  );
}

function Contract({ path: at, entry }: { path: string; entry: ContractEntry | undefined }) {
  const reading = useMemo(() => {
    const place = at.split("/").map(encodeURIComponent).join("/");
    return new Reading(() => get<unknown>(`contracts/${place}`));
  }, [at]);
  const read = reading.value.value;
  const error = reading.error.value;
  const text = useMemo(() => (read === null ? "" : JSON.stringify(read, null, 2)), [read]);
  const members = useMemo(() => fields(read), [read]);
  const about = descriptionOf(read);
  const missing = error instanceof ApiError && error.status === 404;
  // Until it is there; it does not change.
  const settled = read !== null || missing;
  useEffect(() => (settled ? undefined : reading.use()), [reading, settled]);
  return (
    <article class="contract">
      <h1>
        <Text of={entry?.title ?? at} limit={120} />
      </h1>
      {entry && (
        <p class="faint">
          version {entry.version}
          {entry.kind === "jobType" && (
            <>
              {" "}
              · <a href={jobsHref({ type: entry.name })}>its jobs</a>
            </>
          )}
        </p>
      )}
      {about && (
        <p>
          <Text of={about} limit={1000} />
        </p>
      )}
      {read === null &&
        (missing ? (
          <p class="empty">
            There is no contract of this name, or no longer. <a href="#/contracts">All contracts</a>
          </p>
        ) : (
          <Unread error={error} />
        ))}
      {members.length > 0 && (
        <div class="table-box">
          <table>
            <caption class="unseen">Members</caption>
            <thead>
              <tr>
                <th scope="col">Member</th>
                <th scope="col">Type</th>
                <th scope="col">Needed</th>
                <th scope="col" class="wide">
                  What it is
                </th>
              </tr>
            </thead>
            <tbody>
              {members.map((one) => (
                <tr key={one.name}>
                  <th scope="row">
                    <code>
                      <Text of={one.name} limit={120} />
                    </code>
                  </th>
                  <td>
                    <Text of={one.type} limit={200} />
                  </td>
                  <td>{one.required ? "yes" : "no"}</td>
                  <td class="wide">
                    <Text of={one.about} limit={400} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {read !== null && (
        <section aria-labelledby="whole">
          <div class="heading">
            <h2 id="whole">As it is</h2>
            <a href={url(`contracts/${at}`)}>Alone</a>
            <Copy text={text} what="the contract" />
          </div>
          <Block of={text} label="The contract" />
        </section>
      )}
    </article>
  );
}
