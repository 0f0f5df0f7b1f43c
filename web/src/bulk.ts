/** One action on many jobs: counted, confirmed, then done in stretches, with what is done so far. */
import { signal } from "@preact/signals";
import { post } from "./api";
import type { BulkAction, BulkOutcome } from "./contracts";

export type Target = { ids: string[] } | { filter: Record<string, string | string[]> };

interface Tally {
  action: BulkAction;
  changed: number;
  skipped: number;
}

export type BulkState =
  | { phase: "idle" }
  | { phase: "counting"; action: BulkAction }
  | { phase: "asking"; action: BulkAction; what: string; target: Target; count: number; complete: boolean }
  | ({ phase: "doing"; of: number | null } & Tally)
  | ({ phase: "done" } & Tally)
  /** By the reader, or by an error; more may be left. */
  | ({ phase: "stopped"; error: Error | null } & Tally);

/** A stretch is 500 jobs. */
const PATIENCE_MS = 120_000;

export class Bulk {
  readonly state = signal<BulkState>({ phase: "idle" });
  #send: (body: unknown) => Promise<BulkOutcome>;
  #stopped = false;
  #target: Target = { ids: [] };
  #cursor: string | null = null;
  #of: number | null = null;
  #after: () => void = () => {};
  /** The last question: an answer to one before it comes too late. */
  #asked = 0;

  constructor(send = (body: unknown): Promise<BulkOutcome> => post("jobs/actions", body, PATIENCE_MS)) {
    this.#send = send;
  }

  /**
   * Learn how many jobs it would be, and ask; `what` names them, beside the question. `after` is
   * called when all of them are done.
   */
  async ask(
    action: BulkAction,
    target: Target,
    after: () => void = () => {},
    what = "",
  ): Promise<void> {
    if (this.state.peek().phase === "doing") return;
    this.#asked += 1;
    const asked = this.#asked;
    const late = () => asked !== this.#asked || this.state.peek().phase !== "counting";
    this.state.value = { phase: "counting", action };
    try {
      const { matched, complete, next } = await this.#send({ action, ...target, dryRun: true });
      if (late()) return;
      this.#target = target;
      // From there on, so that what came since is not taken along.
      this.#cursor = next;
      this.#of = complete ? matched : null;
      this.#after = after;
      this.state.value = { phase: "asking", action, what, target, count: matched, complete };
    } catch (reason) {
      if (late()) return;
      this.state.value = { phase: "stopped", action, changed: 0, skipped: 0, error: asError(reason) };
    }
  }

  /** Do what was asked. */
  async confirm(): Promise<void> {
    const asked = this.state.peek();
    if (asked.phase === "asking") await this.#do({ action: asked.action, changed: 0, skipped: 0 });
  }

  /** With what was left when it was stopped. */
  async goOn(): Promise<void> {
    const { state } = this;
    const { action, changed, skipped } = state.peek() as Tally;
    if (this.mayGoOn) await this.#do({ action, changed, skipped });
  }

  get mayGoOn(): boolean {
    return this.state.value.phase === "stopped" && this.#cursor !== null;
  }

  /** Ask no more; of what is being done, do no further stretch. */
  stop(): void {
    this.#stopped = true;
    if (this.state.peek().phase !== "doing") {
      this.#cursor = null;
      this.state.value = { phase: "idle" };
    }
  }

  /**
   * The reader went to another filter or view: a question is not meant any more, and what came of it
   * has been seen. What goes on, or can be gone on with, stays in sight.
   */
  leave(otherView: boolean): void {
    const { phase } = this.state.peek();
    const asks = phase === "counting" || phase === "asking";
    const ended = phase === "done" || (phase === "stopped" && !this.mayGoOn);
    if (asks || (ended && otherView)) this.stop();
  }

  async #do(tally: Tally): Promise<void> {
    const { action } = tally;
    let { changed, skipped } = tally;
    this.#stopped = false;
    this.state.value = { phase: "doing", action, changed, skipped, of: this.#of };
    try {
      for (;;) {
        const sent: Record<string, unknown> = { action, ...this.#target };
        if (this.#cursor !== null) sent["cursor"] = this.#cursor;
        const done = await this.#send(sent);
        changed += done.changed;
        skipped += done.skipped;
        this.#cursor = done.next;
        if (done.complete) break;
        if (this.#stopped || this.#cursor === null) {
          this.state.value = { phase: "stopped", action, changed, skipped, error: null };
          return;
        }
        this.state.value = { phase: "doing", action, changed, skipped, of: this.#of };
      }
      this.state.value = { phase: "done", action, changed, skipped };
      this.#after();
    } catch (reason) {
      this.state.value = { phase: "stopped", action, changed, skipped, error: asError(reason) };
    }
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

/** The one there is: it goes on whatever view is opened meanwhile. */
export const bulk = new Bulk();
