// Proves that what contracts/ promises can be read as src/contracts.ts says: for each schema its
// TypeScript type is generated and must be assignable to the page's own.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { compileFromFile } from "json-schema-to-typescript";

const here = dirname(fileURLToPath(import.meta.url));
const contracts = resolve(here, "../contracts");
// Under node_modules: not in git, yet beside the packages the generated files import from.
const work = resolve(here, "node_modules/.contracts");

/** Schema, the page's type, fields that hold any JSON. */
const pairs = [
  ["job.v1", "Job", ["payload", "result"]],
  ["job-summary.v1", "JobSummary"],
  ["http/job-page.v1", "Page<JobSummary>"],
  ["http/job-attempts.v1", "Page<Attempt>"],
  ["http/job-logs.v1", "Page<Omit<LogLine, 'fields'>>"],
  ["http/job-events.v1", "Page<CloudEvent<unknown>>"],
  ["http/stats.v1", "Stats"],
  ["http/stats-series.v1", "Series"],
  ["http/failures.v1", "Page<FailureGroup>"],
  ["http/queues.v1", "Page<Queue>"],
  ["http/workers.v1", "Page<Worker>"],
  ["http/alerts.v1", "Alerts"],
  ["http/job-accepted.v1", "Accepted"],
  ["http/cancellation.v1", "CancelAccepted"],
  ["http/job-action-outcome.v1", "BulkOutcome"],
  ["http/queue-state.v1", "QueueState"],
  ["http/event-page.v1", "Page<Omit<LoggedEvent, 'event'>>"],
  ["http/contract-list.v1", "Page<ContractEntry>"],
  ["http/health.v1", "Health"],
  ["http/system.v1", "SystemHealth"],
  ["http/problem.v1", "Problem"],
  ...readdirSync(join(contracts, "events"))
    .filter((name) => name.startsWith("job."))
    .map((name) => [`events/${name.replace(/\.json$/, "")}`, "JobEventData"]),
];

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
const lines = [`import type * as Page_ from "../../src/contracts";`];
const ours = (type) => type.replace(/\b(?!Omit\b|unknown\b)[A-Z]\w+/g, "Page_.$&");
for (const [index, [schema, type, open = []]] of pairs.entries()) {
  const file = join(contracts, `${schema}.json`);
  const text = await compileFromFile(file, {
    cwd: dirname(file),
    bannerComment: "",
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
  });
  const name = rootOf(text);
  writeFileSync(join(work, `schema${index}.ts`), text);
  const without = open.map((one) => `"${one}"`).join(" | ") || "never";
  lines.push(
    `import type { ${name} as Schema${index} } from "./schema${index}";`,
    `// ${schema} read as ${type}`,
    `export const read${index} = (it: Omit<Schema${index}, ${without}>): Omit<${ours(type)}, ${without}> => it;`,
  );
}
writeFileSync(join(work, "check.ts"), `${lines.join("\n")}\n`);
const tsc = spawnSync(
  process.execPath,
  [
    resolve(here, "node_modules/typescript/bin/tsc"),
    ...["--noEmit", "--strict", "--skipLibCheck", "--ignoreConfig"],
    ...["--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"],
    join(work, "check.ts"),
  ],
  { stdio: "inherit" },
);
if (tsc.status === 0) console.log(`${pairs.length} contracts read as the page's types`);
process.exit(tsc.status ?? 1);

/** The type that no other one in the file mentions. */
function rootOf(text) {
  const names = [...text.matchAll(/^export (?:interface|type) (\w+)/gm)].map((one) => one[1]);
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, "");
  const roots = names.filter((name) => code.match(new RegExp(`\\b${name}\\b`, "g")).length === 1);
  if (roots.length !== 1) throw new Error(`which is the root: ${roots.join(", ")}?`);
  return roots[0];
}
