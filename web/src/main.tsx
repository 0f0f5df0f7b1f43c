/** The page: its frame, which view the address asks for, its title. */
import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useLayoutEffect } from "preact/hooks";
import { readAddress, type Address } from "./address";
import { bulk } from "./bulk";
import { BulkPanel } from "./bulkbar";
import { Contracts } from "./catalogue";
import { Events } from "./events";
import { Failures } from "./failures";
import { count } from "./format";
import { Health } from "./health";
import { Help } from "./help";
import { JobPage } from "./job";
import { Jobs } from "./jobs";
import { bind, declare, helpOpen, listenToKeys, type Key } from "./keyboard";
import { AnotherKey } from "./keyform";
import { Overview } from "./overview";
import { entry, goBackTo, here, places, type Place } from "./places";
import { Queues } from "./queues";
import { bindRows } from "./rows";
import { begin, live, staleSince, stats } from "./session";
import { failingCount } from "./state";
import { System } from "./system";
import { switchTheme, theme } from "./theme";
import { Workers } from "./workers";

const address = signal<Address>(readAddress(location.hash));
/** What the job's page puts before the name. */
const jobTitle = signal("");

/** What this view is of, whatever is asked of it. */
function subject(at: Address): string {
  if (at.view === "job") return `job ${at.id}`;
  return at.view === "contracts" && at.path !== null ? `contract ${at.path}` : at.view;
}

/** What is to be done once the view that was gone to is drawn. */
let arriving: { moved: boolean; left: Place | null } | null = null;
// The browser would go back to where a view ended that is not drawn yet.
history.scrollRestoration = "manual";
places.enter(entry(null).entry);

addEventListener("hashchange", () => {
  const before = address.value;
  const next = readAddress(location.hash);
  places.leave(here());
  arriving = { moved: subject(before) !== subject(next), left: places.enter(entry(subject(before)).entry) };
  address.value = next;
  bulk.leave(before.view !== next.view);
});

/**
 * Before the view's own effects, and not before the view: the one that was left is to know nothing of
 * it, or it would take the reader for someone who looks away from a row.
 */
function Arrival() {
  useLayoutEffect(() => {
    const { moved, left } = arriving ?? { moved: false, left: null };
    arriving = null;
    // Where the focus was is gone: the new view has it.
    if (moved) document.getElementById("main")?.focus({ preventScroll: true });
    if (left) goBackTo(left);
    else if (moved) scrollTo(0, 0);
  }, [address.value]);
  return null;
}

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

interface Tab {
  view: Address["view"];
  name: string;
  href: string;
  keys: string;
}

const TABS: readonly Tab[] = [
  { view: "overview", name: "Overview", href: "#/", keys: "g o" },
  { view: "jobs", name: "Jobs", href: "#/jobs", keys: "g j" },
  { view: "failures", name: "Failures", href: "#/failures", keys: "g f" },
  { view: "queues", name: "Queues", href: "#/queues", keys: "g q" },
  { view: "workers", name: "Workers", href: "#/workers", keys: "g w" },
  { view: "events", name: "Events", href: "#/events", keys: "g e" },
  { view: "contracts", name: "Contracts", href: "#/contracts", keys: "g c" },
  { view: "system", name: "System", href: "#/system", keys: "g s" },
];

/** Whether the list is a step back from which this job or contract was opened. */
function isBelowAList(at: Address): boolean {
  const { from } = entry(null);
  if (from === null || from.startsWith("job ")) return false;
  return at.view === "job" || (at.view === "contracts" && at.path !== null && from === "contracts");
}

/** Back to the list as it was left, or to what is above. */
function up(): void {
  const at = address.peek();
  if (isBelowAList(at)) {
    history.back();
    return;
  }
  const above = at.view === "job" ? "#/jobs" : at.view === "contracts" && at.path ? "#/contracts" : "#/";
  location.hash = above;
}

const KEYS: readonly Key[] = [
  { ...declare("Everywhere", "?", "these keys"), run: () => (helpOpen.value = true) },
  ...TABS.map((tab) => ({
    ...declare("Everywhere", tab.keys, `to ${tab.name}`),
    run: () => (location.hash = tab.href),
  })),
  {
    ...declare("Everywhere", "Escape", "back to the list, or to the view above"),
    run: up,
    when: () => address.peek().view !== "overview",
  },
  { ...declare("Everywhere", "t", "dark or light"), run: switchTheme },
];

function title(): string {
  const at = address.value;
  const failing = failingCount(stats.value.value?.states);
  const down = live.connection.value.phase === "waiting" || staleSince.value !== null;
  const name = TABS.find((tab) => tab.view === at.view)?.name ?? "";
  const told = [
    down ? "stale" : "",
    at.view === "job" ? jobTitle.value : at.view === "overview" ? "" : name,
    at.view !== "job" && failing > 0 ? `${count(failing)} failing` : "",
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
    case "failures":
      return <Failures />;
    case "queues":
      return <Queues key={at.queue} asked={at.queue} />;
    case "workers":
      return <Workers />;
    case "events":
      return <Events type={at.type} subject={at.subject} />;
    case "contracts":
      return <Contracts shown={at.path} />;
    case "system":
      return <System />;
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
  useEffect(() => {
    begin();
    const stops = [bind(KEYS), bindRows()];
    return () => stops.forEach((stop) => stop());
  }, []);
  const at = address.value.view;
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        To the content
      </a>
      <header class="top">
        <a class="name" href="#/">
          Observatory
        </a>
        <nav aria-label="Views">
          {TABS.map((tab) => (
            <a
              key={tab.view}
              href={tab.href}
              title={`Key: ${tab.keys}`}
              aria-current={tab.view === at || (tab.view === "jobs" && at === "job") ? "page" : undefined}
            >
              {tab.name}
            </a>
          ))}
        </nav>
        <span class="switches">
          <button type="button" class="quiet" onClick={switchTheme}>
            {theme.value === "dark" ? "Light" : "Dark"}
          </button>
          <button type="button" class="quiet" onClick={() => (helpOpen.value = true)}>
            Keys
          </button>
        </span>
      </header>
      <Health />
      <main id="main" tabIndex={-1} data-stale={staleSince.value !== null ? "yes" : undefined}>
        <BulkPanel />
        <Arrival />
        <View />
      </main>
      <footer>
        <a href="./docs">API</a> <a href="./metrics">Metrics</a>{" "}
        <a href="./healthz">Health as JSON</a> <AnotherKey />
        <span class="faint">Times are of this browser: {ZONE}</span>
      </footer>
      <Help />
    </>
  );
}

/** The address after # names the view, so the link moves the focus by itself. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

listenToKeys();
effect(() => {
  document.title = title();
});
render(<Page />, document.getElementById("page")!);
