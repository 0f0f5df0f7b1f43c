/** The keys, in a dialog; made from where they are declared. */
import { useEffect, useRef } from "preact/hooks";
import { allKeys, helpOpen } from "./keyboard";

const NAMED: Record<string, string> = { " ": "space", Escape: "esc", Enter: "enter" };

export function Help() {
  const box = useRef<HTMLDialogElement>(null);
  const open = helpOpen.value;
  useEffect(() => {
    const dialog = box.current!;
    if (open && !dialog.open) dialog.showModal();
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog ref={box} class="help" aria-labelledby="keys" onClose={() => (helpOpen.value = false)}>
      <div class="heading">
        <h2 id="keys">Keys</h2>
        <button type="button" class="quiet" onClick={() => (helpOpen.value = false)}>
          Close
        </button>
      </div>
      {open && (
        <dl>
          {allKeys().map((one) => (
            <div key={one.keys} data-off={one.when && !one.when() ? "yes" : undefined}>
              <dt>
                {(NAMED[one.keys] ? [NAMED[one.keys]!] : one.keys.split(" ")).map((part) => (
                  <kbd key={part}>{NAMED[part] ?? part}</kbd>
                ))}
              </dt>
              <dd>{one.about}</dd>
            </div>
          ))}
        </dl>
      )}
    </dialog>
  );
}
