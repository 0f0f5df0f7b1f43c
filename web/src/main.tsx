/** The page: its frame, which view the address asks for, its title. */
import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { readAddress, type Address } from "./address";
import { count } from "./format";
import { Health } from "./health";
import { JobPage } from "./job";
import { Jobs } from "./jobs";
import { Overview } from "./overview";
import { begin, live, staleSince, stats } from "./session";

const address = signal<Address>(readAddress(location.hash));
/** What the job's page puts before the name. */
const jobTitle = signal("");

addEventListener("hashchange", () => {
  const before = address.value;
  const next = readAddress(location.hash);
  address.value = next;
  const same =
    before.view === next.view &&
    (next.view !== "job" || (before.view === "job" && before.id === next.id));
  if (!same) scrollTo(0, 0);
});

function title(): string {
  const at = address.value;
  const failed = stats.value.value?.states.failed ?? 0;
  const down = live.connection.value.phase === "waiting" || staleSince.value !== null;
  const told = [
    down ? "stale" : "",
    at.view === "job" ? jobTitle.value : at.view === "jobs" ? "Jobs" : "",
    at.view !== "job" && failed > 0 ? `${count(failed)} failing` : "",
  ].filter(Boolean);
  return told.length ? `${told.join(" · ")} – Observatory` : "Observatory";
}

function View() {
  const at = address.value;
  switch (at.view) {
    case "overview":
      return <Overview />;
    case "jobs":
      return <Jobs filter={at.filter} />;
    case "job":
      return <JobPage key={at.id} id={at.id} attempt={at.attempt} title={jobTitle} />;
    case "unknown":
      return (
        <>
          <h1>Nothing here</h1>
          <p class="empty">
            This address names no view. <a href="#/">Overview</a>
          </p>
        </>
      );
  }
}

function Page() {
  useEffect(begin, []);
  const at = address.value.view;
  return (
    <>
      <header class="top">
        <a class="name" href="#/">
          Observatory
        </a>
        <nav aria-label="Views">
          <a href="#/" aria-current={at === "overview" ? "page" : undefined}>
            Overview
          </a>
          <a href="#/jobs" aria-current={at === "jobs" ? "page" : undefined}>
            Jobs
          </a>
        </nav>
      </header>
      <Health />
      <main data-stale={staleSince.value !== null ? "yes" : undefined}>
        <View />
      </main>
      <footer>
        <a href="./docs">API</a> <a href="./metrics">Metrics</a>{" "}
        <a href="./healthz">Health as JSON</a>
      </footer>
    </>
  );
}

effect(() => {
  document.title = title();
});
render(<Page />, document.getElementById("page")!);
