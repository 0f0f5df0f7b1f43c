/** Where a key is entered: asked for by the API, or by whoever has another one. */
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { key, keyFault, refusal, useKey } from "./api";
import { beginAgain } from "./session";

/** The reader has another key. */
const wanted = signal(false);

/** Only where there is a key already: who needs one is asked. */
export function AnotherKey() {
  if (key.value === null) return null;
  return (
    <button type="button" class="quiet" onClick={() => (wanted.value = true)}>
      Another key
    </button>
  );
}

export function KeyForm() {
  const refused = refusal.value;
  if (!refused && !wanted.value) return null;
  return <Form status={refused?.status ?? null} />;
}

function asked(status: number | null): string {
  if (status === null) return "Another API key:";
  if (status === 403) return "This API key may not do that. Another:";
  return key.value ? "This API key was refused. Another:" : "The API asks for a key:";
}

function Form({ status }: { status: number | null }) {
  const [typed, setTyped] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const asksFor = wanted.value;
  useLayoutEffect(() => {
    // Where the API asks, the reader may be in the middle of something.
    if (asksFor) field.current?.focus();
  }, [asksFor]);
  const send = (event: Event) => {
    event.preventDefault();
    const found = keyFault(typed.trim());
    setFault(found);
    if (found) return;
    useKey(typed.trim());
    wanted.value = false;
    beginAgain();
  };
  const close = () => {
    refusal.value = null;
    wanted.value = false;
  };
  return (
    <form class="key" onSubmit={send}>
      <label for="key">{asked(status)}</label>
      <input
        id="key"
        ref={field}
        type="password"
        autocomplete="off"
        required
        aria-invalid={fault !== null}
        aria-describedby="key-fault"
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setFault(null);
        }}
      />
      <button type="submit">Use it</button>
      {status !== 401 && (
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      )}
      <span class={fault ? "warning" : "note"} id="key-fault" role="status">
        {fault ?? "Kept in this tab only."}
      </span>
    </form>
  );
}
