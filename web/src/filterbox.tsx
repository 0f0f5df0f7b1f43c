/** The filter box, with what may follow below it. */
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { JobFilter } from "./address";
import { completions, parseFilter, writeFilter, type Completion, type Known } from "./filter";
import { declareHandled } from "./keyboard";
import { Text } from "./text";

declareHandled("Questions and fields", "ArrowDown", "next of what may follow, in the filter");
declareHandled("Questions and fields", "ArrowUp", "the one before");
declareHandled("Questions and fields", "Tab", "take it; so does enter");

/** The address follows the typing after this pause. */
const TYPING_MS = 300;

interface FilterBoxProps {
  filter: JobFilter;
  known: Known;
  /** `again`: what was applied before is not done yet, and is replaced in the history. */
  onChange: (filter: JobFilter, again: boolean) => void;
  /** Whether what stands in the box is understood. */
  onFaults: (faulty: boolean) => void;
  /** Where keys that mean "filter" lead. */
  box: { current: HTMLInputElement | null };
}

export function FilterBox({ filter, known, onChange, onFaults, box }: FilterBoxProps) {
  const given = writeFilter(filter);
  const [text, setText] = useState(given);
  const [chosen, setChosen] = useState(-1);
  const [open, setOpen] = useState(false);
  const wrote = useRef(given);
  /** The address has what is being typed: one entry of the history, however many letters. */
  const draft = useRef(false);
  const id = useId();
  useEffect(() => {
    // The address was changed by a link or the back button, not here.
    if (given !== wrote.current) {
      wrote.current = given;
      draft.current = false;
      setText(given);
    }
  }, [given]);
  const { filter: typed, faults, notes } = parseFilter(text);
  const wanted = writeFilter(typed);
  const apply = () => {
    if (wanted === wrote.current || faults.length) return;
    wrote.current = wanted;
    onChange(typed, draft.current);
    draft.current = true;
  };
  useEffect(() => {
    if (wanted === wrote.current || faults.length) return undefined;
    const timer = setTimeout(apply, TYPING_MS);
    return () => clearTimeout(timer);
  }, [wanted, faults.length]);
  const done = () => {
    if (faults.length) return;
    apply();
    draft.current = false;
  };
  const [taken, setTaken] = useState(0);
  useEffect(() => {
    // A value was taken, and not a name that waits for one.
    if (taken) done();
  }, [taken]);
  useLayoutEffect(() => onFaults(faults.length > 0), [faults.length > 0]);
  const offered = open ? completions(text, known) : [];
  const take = (one: Completion) => {
    setText(one.text);
    setChosen(-1);
    setTaken(taken + 1);
    box.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !offered[chosen]) {
      setOpen(false);
      done();
      return;
    }
    if (!offered.length) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      setChosen((chosen + step + offered.length + (chosen < 0 && step < 0 ? 1 : 0)) % offered.length);
    } else if ((event.key === "Enter" || event.key === "Tab") && offered[chosen]) take(offered[chosen]);
    else if (event.key === "Escape") {
      setOpen(false);
      event.stopPropagation();
    } else return;
    event.preventDefault();
  };
  return (
    <div class="filter-box">
      <label for={`${id}-box`}>Filter</label>
      <input
        id={`${id}-box`}
        ref={box}
        name="filter"
        role="combobox"
        aria-expanded={offered.length > 0}
        aria-controls={`${id}-offered`}
        aria-autocomplete="list"
        aria-activedescendant={chosen >= 0 && offered[chosen] ? `${id}-${chosen}` : undefined}
        aria-describedby={faults.length ? `${id}-faults` : `${id}-notes`}
        value={text}
        placeholder="state:failed queue:mail since:2h connection refused"
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setChosen(-1);
          setOpen(true);
        }}
        onKeyDown={onKeyDown}
        onFocus={() => (draft.current = false)}
        onBlur={() => setOpen(false)}
      />
      <ul id={`${id}-offered`} role="listbox" aria-label="What may follow" hidden={!offered.length}>
        {offered.map((one, index) => (
          <li
            key={one.text}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === chosen}
            onPointerDown={(event) => {
              event.preventDefault();
              take(one);
            }}
          >
            <b>{one.shown}</b> <span class="faint">{one.about}</span>
          </li>
        ))}
      </ul>
      {faults.length > 0 && (
        <p class="warning" id={`${id}-faults`} role="alert">
          {faults.join("; ")}
        </p>
      )}
      <p class="note" id={`${id}-notes`} role="status">
        {notes.length > 0 && <Text of={notes.join("; ")} />}
      </p>
    </div>
  );
}
