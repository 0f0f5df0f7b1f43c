/** A question in place of the button that opens it: it has the focus, and Escape is its No. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { bind, declare } from "./keyboard";

export const NO = declare("Questions and fields", "Escape", "no; close what came of many jobs; leave the field");

/** Where the focus goes once the place it had is gone; without it a keyboard begins at the top. */
function focusBack(opener: Element | null): void {
  // The focus may have moved on by itself, which is the reader's doing.
  if (document.activeElement && document.activeElement !== document.body) return;
  if (opener instanceof HTMLElement && opener !== document.body && opener.isConnected) {
    opener.focus();
    if (document.activeElement === opener) return;
  }
  const heading = document.querySelector<HTMLElement>("main h1");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

/**
 * For what asks before it acts, while it is asked: the focus goes to `first`, Escape runs `no`, and
 * the focus goes back to what had it, or to `otherwise`.
 */
export function useQuestion(
  no: () => void,
  first: { current: HTMLElement | null },
  otherwise?: { current: HTMLElement | null },
): void {
  useLayoutEffect(() => {
    const had = document.activeElement;
    const opener = had && had !== document.body && had.id !== "main" ? had : null;
    // What this question stands in for is not laid out again before it is gone.
    const instead = otherwise?.current ?? null;
    first.current?.focus();
    const stop = bind([{ ...NO, run: no }]);
    return () => {
      stop();
      setTimeout(() => focusBack(opener?.isConnected ? opener : instead));
    };
  }, []);
}

interface AskedProps {
  /** The question, in words. */
  label: string;
  yes: string;
  danger?: boolean;
  onYes: () => void;
  onNo: () => void;
  opener: { current: HTMLElement | null };
}

function Asked({ label, yes, danger, onYes, onNo, opener }: AskedProps) {
  const no = useRef<HTMLButtonElement>(null);
  useQuestion(onNo, no, opener);
  return (
    <span class="asking" role="group" aria-label={label}>
      <button type="button" class={danger ? "danger" : undefined} onClick={onYes}>
        {yes}
      </button>
      <button type="button" ref={no} onClick={onNo}>
        No
      </button>
    </span>
  );
}

interface QuestionProps extends Omit<AskedProps, "opener"> {
  asking: boolean;
  /** What the button says that opens it, or acts at once where nothing is asked. */
  children: ComponentChildren;
  title: string;
  disabled: boolean;
  /** The button keeps the focus and does nothing meanwhile. */
  busy: boolean;
  onPress: () => void;
}

export function Question({ asking, children, title, disabled, busy, onPress, ...asked }: QuestionProps) {
  const opener = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    // A browser takes the focus from what can no longer be used, and gives it to nothing.
    if (!disabled || document.activeElement !== opener.current) return;
    opener.current?.blur();
    focusBack(null);
  }, [disabled]);
  return (
    <>
      <button
        type="button"
        ref={opener}
        hidden={asking}
        disabled={disabled}
        aria-disabled={busy || undefined}
        title={title}
        onClick={() => busy || onPress()}
      >
        {children}
      </button>
      {asking && <Asked {...asked} opener={opener} />}
    </>
  );
}
