/** The same as a button does, as a line for a shell. */
import { shellQuoted } from "./format";

/** The command line asks 127.0.0.1:8080 unless told. */
export function urlOption(): string {
  const base = document.baseURI.replace(/[#?].*$/, "").replace(/\/$/, "");
  return base === "http://127.0.0.1:8080" ? "" : ` --url ${shellQuoted(base)}`;
}

export function submitCommand(type: string): string {
  return `observatory submit ${shellQuoted(type)} name=value${urlOption()}`;
}
