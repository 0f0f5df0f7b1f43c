/** Calls as one would type them, each with a button that copies it. */
import type { Call } from "./shell";
import { Copy } from "./text";

export function Calls({ of }: { of: readonly Call[] }) {
  return (
    <>
      {of
        .flatMap((one) => [one.line, one.curl])
        .map((command) => (
          <p class="command" key={command}>
            <code>{command}</code> <Copy text={command} what="the command" />
          </p>
        ))}
    </>
  );
}
