/** A Python traceback cut into frames, so that the reader's own code stands out. */

export type Part =
  /** Header, exception line, notes, the words between chained exceptions. */
  | { kind: "text"; text: string }
  /** Code of the reader. */
  | { kind: "own"; text: string }
  /** Consecutive frames of libraries, the standard library and the worker itself. */
  | { kind: "library"; text: string; frames: number };

const FRAME = /^\s*(?:\| )*\s*File "(.*)", line \d+/;
const LIBRARY =
  /(?:^<frozen )|[\\/](?:site|dist)-packages[\\/]|[\\/][Ll]ib[\\/]python\d[\d.]*[\\/]|[\\/]observatory[\\/](?:services|runtime|backends|assembly)[\\/]/;

export function tracebackParts(traceback: string): Part[] {
  const parts: Part[] = [];
  let frame: { library: boolean; lines: string[]; indent: number } | null = null;
  let text: string[] = [];

  const endText = () => {
    if (text.length) parts.push({ kind: "text", text: text.join("\n") });
    text = [];
  };
  const endFrame = () => {
    if (!frame) return;
    const body = frame.lines.join("\n");
    const last = parts.at(-1);
    if (!frame.library) parts.push({ kind: "own", text: body });
    else if (last?.kind === "library") {
      last.text += `\n${body}`;
      last.frames += 1;
    } else parts.push({ kind: "library", text: body, frames: 1 });
    frame = null;
  };

  for (const line of traceback.replace(/\n+$/, "").split("\n")) {
    const file = FRAME.exec(line);
    if (file) {
      endText();
      endFrame();
      frame = { library: LIBRARY.test(file[1]!), lines: [line], indent: indentOf(line) };
    } else if (frame && line !== "" && indentOf(line) > frame.indent) frame.lines.push(line);
    else if (frame && /^\s*\[Previous line repeated/.test(line)) frame.lines.push(line);
    else {
      endFrame();
      text.push(line);
    }
  }
  endFrame();
  endText();
  return parts;
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}
