/** Moving through the rows of a view by keys. */
import { bind, declare, type Key } from "./keyboard";

const rows = () => [...document.querySelectorAll<HTMLElement>("main [data-row]")];

/** The row that has the focus, or the keyboard's mark. */
export function pointedRow(): HTMLElement | null {
  const focused = document.activeElement?.closest<HTMLElement>("[data-row]");
  return focused ?? document.querySelector<HTMLElement>("main [data-row][data-pointed]");
}

function point(step: number): void {
  const all = rows();
  if (!all.length) return;
  const before = pointedRow();
  const at = before ? all.indexOf(before) + step : step > 0 ? 0 : all.length - 1;
  pointTo(all[Math.max(0, Math.min(all.length - 1, at))]!);
}

/** By what a row is known when it is drawn anew. */
export function nameOf(row: HTMLElement): string | null {
  const { job, fingerprint } = row.dataset;
  return job ?? fingerprint ?? row.querySelector("a")?.getAttribute("href") ?? null;
}

export function rowNamed(name: string): HTMLElement | null {
  return rows().find((row) => nameOf(row) === name) ?? null;
}

/** Gives one row the mark and the focus, and brings it into sight. */
export function pointTo(row: HTMLElement): void {
  markRow(row);
  row.scrollIntoView({ block: "nearest" });
}

export function markRow(row: HTMLElement): void {
  for (const other of document.querySelectorAll<HTMLElement>("main [data-row][data-pointed]")) {
    delete other.dataset["pointed"];
  }
  row.dataset["pointed"] = "yes";
  // The link of a row takes the focus, so that screen readers follow and Enter opens it.
  row.querySelector<HTMLElement>("a, summary, button")?.focus({ preventScroll: true });
}

const KEYS: readonly Key[] = [
  { ...declare("In a list", "j", "next row"), run: () => point(1), when: () => rows().length > 0 },
  { ...declare("In a list", "k", "row before"), run: () => point(-1), when: () => rows().length > 0 },
  {
    ...declare("In a list", "Enter", "open the row"),
    run: () => pointedRow()?.querySelector<HTMLElement>("a, summary")?.click(),
    when: () => pointedRow() !== null,
  },
];

export function bindRows(): () => void {
  return bind(KEYS);
}
