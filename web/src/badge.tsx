/** A state as icon shape, colour and word; an instant as its age. */
import { computed, type ReadonlySignal } from "@preact/signals";
import { createContext } from "preact";
import { useContext, useMemo } from "preact/hooks";
import type { State } from "./contracts";
import { age, momentInUtc } from "./format";
import { serverNow } from "./session";
import { LOOK } from "./state";

export function Icon({ state }: { state: State }) {
  const look = LOOK[state];
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <rect width="16" height="16" rx="4" fill={look.colour} />
      <path
        d={look.shape}
        fill={state === "running" ? look.ink : "none"}
        stroke={look.ink}
        stroke-width="1.8"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}

export function Badge({ state }: { state: State }) {
  return (
    <span class="badge" data-state={state}>
      <Icon state={state} />
      {state}
    </span>
  );
}

/** By which ages count, in ms: it may stand still for what is out of view. */
export const Clock = createContext<ReadonlySignal<number>>(serverNow);

/** "12 s", "26 min", counting; the exact time when pointed at. */
export function Age({ of }: { of: string | null }) {
  // Bound as text: a list of thousands is not rendered anew each second for the few that change.
  const clock = useContext(Clock);
  const told = useMemo(() => {
    const since = of ? Date.parse(of) : 0;
    return computed(() => {
      const seconds = (clock.value - since) / 1000;
      // Clocks differ by a little: what was just now is not to come.
      return seconds <= -1 ? `in ${age(-seconds)}` : age(Math.max(0, seconds));
    });
  }, [of, clock]);
  if (!of) return <>–</>;
  return (
    <time dateTime={of} title={momentInUtc(of)}>
      {told}
    </time>
  );
}
