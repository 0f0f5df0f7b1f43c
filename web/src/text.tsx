/** Text that others wrote: shown as text, its hidden characters made visible, cut when very long. */
import { useState } from "preact/hooks";
import { count, cut, pieces } from "./format";

function Pieces({ of }: { of: string }) {
  return (
    <>
      {pieces(of).map((piece, index) =>
        piece.escaped ? (
          <span class="hidden-character" key={index}>
            {piece.text}
          </span>
        ) : (
          piece.text
        ),
      )}
    </>
  );
}

/** A name or a short message, on one line, kept apart from the direction of what is around it. */
export function Text({ of, limit = 300 }: { of: string; limit?: number }) {
  const shown = cut(of.replaceAll("\n", "↵"), limit);
  return (
    <bdi class="text">
      <Pieces of={shown} />
      {shown.length < of.length && "…"}
    </bdi>
  );
}

const LONG_CHARACTERS = 6000;
const LONG_LINES = 120;

/** Long text in its own box, with "show all" when it is very long. */
export function Block({ of, label }: { of: string; label: string }) {
  const [all, setAll] = useState(false);
  const short = shortened(of);
  const isCut = short.length < of.length;
  return (
    <div class="block">
      <pre tabIndex={0} aria-label={label}>
        <Pieces of={all ? of : short} />
        {isCut && !all && "\n…"}
      </pre>
      {isCut && (
        <button type="button" class="quiet" onClick={() => setAll(!all)}>
          {all ? "Show less" : `Show all ${count(of.length)} characters`}
        </button>
      )}
    </div>
  );
}

function shortened(text: string): string {
  let end = -1;
  for (let line = 0; line < LONG_LINES; line += 1) {
    end = text.indexOf("\n", end + 1);
    if (end < 0) return cut(text, LONG_CHARACTERS);
  }
  return cut(text.slice(0, end), LONG_CHARACTERS);
}

/** A button that copies; where the browser forbids it, it says so. */
export function Copy({ text, what }: { text: string; what: string }) {
  const [told, setTold] = useState<string | null>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setTold("Copied");
    } catch {
      setTold("The browser refused");
    }
    setTimeout(() => setTold(null), 2000);
  };
  return (
    <button type="button" class="quiet" onClick={() => void copy()} aria-label={`Copy ${what}`}>
      <span role="status">{told ?? "Copy"}</span>
    </button>
  );
}
