import { defineConfig } from "vitest/config";

/** Addresses the dev server hands on to a running `observatory up` (npm run dev). */
const API = ["/jobs", "/stats", "/failures", "/queues", "/workers", "/events", "/contracts"];

export default defineConfig({
  // Relative addresses: the page works under any sub-path of an edge proxy.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/observatory/interfaces/web/dist",
    emptyOutDir: true,
    target: "es2022",
    // A strict CSP allows neither data: URLs nor inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(
      API.map((path) => [path, process.env["OBSERVATORY_URL"] ?? "http://127.0.0.1:8080"]),
    ),
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
