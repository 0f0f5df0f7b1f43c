/** Dark or light: as the system prefers, until the reader chooses. */
import { signal } from "@preact/signals";

export type Theme = "dark" | "light";

const NAME = "observatory.theme";
const preference = matchMedia("(prefers-color-scheme: dark)");

function inForce(): Theme {
  const chosen = document.documentElement.dataset["theme"];
  if (chosen === "dark" || chosen === "light") return chosen;
  return preference.matches ? "dark" : "light";
}

/** The theme that is in force. */
export const theme = signal<Theme>(inForce());
preference.addEventListener("change", () => (theme.value = inForce()));

export function switchTheme(): void {
  const next = theme.value === "dark" ? "light" : "dark";
  document.documentElement.dataset["theme"] = next;
  theme.value = next;
  try {
    localStorage.setItem(NAME, next);
  } catch {
    // No storage: it holds as long as the page is open.
  }
}
