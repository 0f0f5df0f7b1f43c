/** The keys of all views, in a dialog; made from where they are declared. */
import { useEffect, useRef } from "preact/hooks";
import { help, helpOpen } from "./keyboard";

const NAMED: Record<string, string> = {
  " ": "space",
  Escape: "esc",
  Enter: "enter",
  ArrowDown: "↓",
  ArrowUp: "↑",
  Tab: "tab",
};

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
        <div class="places">
          {help().map(({ place, keys }) => (
            <section key={place} aria-label={place}>
              <h3>{place}</h3>
              <dl>
                {keys.map((one) => (
                  <div key={one.keys} data-off={one.on ? undefined : "yes"}>
                    <dt>
                      {(NAMED[one.keys] ? [NAMED[one.keys]!] : one.keys.split(" ")).map((part) => (
                        <kbd key={part}>{NAMED[part] ?? part}</kbd>
                      ))}
                    </dt>
                    <dd>{one.about}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
        </div>
      )}
      <p class="note">Those that are faint do nothing where you are now.</p>
    </dialog>
  );
}
