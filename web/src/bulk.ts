/** One action on many jobs: counted, confirmed, then done in stretches, with what is done so far. */
import { signal } from "@preact/signals";
import { post } from "./api";
import type { BulkAction, BulkOutcome } from "./contracts";

export type Target = { ids: string[] } | { filter: Record<string, string | string[]> };

export type BulkState =
  | { phase: "idle" }
  | { phase: "counting"; action: BulkAction }
  | { phase: "asking"; action: BulkAction; target: Target; count: number; complete: boolean }
  | { phase: "doing"; action: BulkAction; changed: number; skipped: number; of: number | null }
  | { phase: "done"; action: BulkAction; changed: number; skipped: number }
  | { phase: "failed"; action: BulkAction; changed: number; error: Error };

export class Bulk {
  readonly state = signal<BulkState>({ phase: "idle" });
  #send: (body: unknown) => Promise<BulkOutcome>;
  #stopped = false;

  constructor(send: (body: unknown) => Promise<BulkOutcome> = (body) => post("jobs/actions", body)) {
    this.#send = send;
  }

  /** Learn how many jobs it would be, and ask. */
  async ask(action: BulkAction, target: Target): Promise<void> {
    this.state.value = { phase: "counting", action };
    try {
      const { matched, complete } = await this.#send({ action, ...target, dryRun: true });
      if (this.state.peek().phase !== "counting") return;
      this.state.value = { phase: "asking", action, target, count: matched, complete };
    } catch (reason) {
      this.#fail(action, 0, reason);
    }
  }

  /** Do what was asked. */
  async confirm(): Promise<void> {
    const asked = this.state.peek();
    if (asked.phase !== "asking") return;
    const { action, target } = asked;
    const of = asked.complete ? asked.count : null;
    let changed = 0;
    let skipped = 0;
    let cursor: string | null = null;
    this.#stopped = false;
    this.state.value = { phase: "doing", action, changed, skipped, of };
    try {
      do {
        const sent: Record<string, unknown> = { action, ...target };
        if (cursor !== null) sent["cursor"] = cursor;
        const done: BulkOutcome = await this.#send(sent);
        changed += done.changed;
        skipped += done.skipped;
        cursor = done.next;
        this.state.value = { phase: "doing", action, changed, skipped, of };
      } while (cursor !== null && !this.#stopped);
      this.state.value = { phase: "done", action, changed, skipped };
    } catch (reason) {
      this.#fail(action, changed, reason);
    }
  }

  /** Ask no more; of what is being done, do no further stretch. */
  stop(): void {
    this.#stopped = true;
    if (this.state.peek().phase !== "doing") this.state.value = { phase: "idle" };
  }

  #fail(action: BulkAction, changed: number, reason: unknown): void {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    this.state.value = { phase: "failed", action, changed, error };
  }
}
