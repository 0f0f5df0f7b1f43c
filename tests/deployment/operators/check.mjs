// Reads documents as JSON, and prints what their operators' models say against each: values by the
// validators, fields that no operator knows by the types, which alone see them.
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const packages = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
  "postgresql.cnpg.io": "cloudnative-pg",
};

const documents = JSON.parse(readFileSync(0, "utf8"));
const typed = [];
for (const [number, document] of documents.entries()) {
  const models = `@kubernetes-models/${packages[document.apiVersion.split("/")[0]]}/${document.apiVersion}`;
  const { [document.kind]: Model } = await import(models);
  try {
    new Model(document).validate();
  } catch (error) {
    console.log(`${document.kind}: ${error.message}`);
  }
  typed.push(
    `import type { I${document.kind} as T${number} } from "${models}";\n` +
      `export const ${document.kind}_${number}: T${number} = ${JSON.stringify(document, null, 1)};\n`,
  );
}

// Under node_modules: not in git, yet beside the packages that it imports from. A name for each run.
const file = join(here, "node_modules", `.checked-${process.pid}.mts`);
writeFileSync(file, typed.join(""));
try {
  const told = spawnSync(
    process.execPath,
    [join(here, "node_modules/typescript/bin/tsc"), "--noEmit", "--strict", "--skipLibCheck",
     "--module", "nodenext", "--target", "esnext", "--types", "", file],
    { encoding: "utf8" },
  );
  process.stdout.write(told.stdout + told.stderr);
} finally {
  rmSync(file);
}
