/** Numbers, times and durations as text; and hostile text made visible. */

/** 0.0042 → "4 ms", 3.21 → "3.2 s", 75 → "1 min 15 s", 7500 → "2 h 5 min". */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s === 0) return "0 s";
  if (s < 0.001) return "<1 ms";
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  return coarse(Math.round(s));
}

/** The same for what is counted second by second: no fractions that flicker. */
export function elapsed(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  return s < 60 ? `${s} s` : coarse(s);
}

/** Each number and its unit on one line; between two such the line may break. */
export function unbroken(told: string): string {
  return told.replaceAll(/(\d) (?=[a-zµ])/g, "$1\u00a0");
}

/** An age at a glance, in its largest unit: "26 min". */
export function age(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86_400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

function coarse(s: number): string {
  const of = (big: number, bigName: string, small: number, smallName: string) => {
    const rest = Math.floor((s % big) / small);
    const whole = `${Math.floor(s / big)} ${bigName}`;
    return rest ? `${whole} ${rest} ${smallName}` : whole;
  };
  if (s < 3600) return of(60, "min", 1, "s");
  if (s < 86_400) return of(3600, "h", 60, "min");
  return of(86_400, "d", 3600, "h");
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(n: number | null | undefined): string {
  return n === null || n === undefined ? "–" : WHOLE.format(n);
}

/** A rate: 0.034 → "0.034", 4.25 → "4.3", 1234.5 → "1,235". Never "0" for something that is not. */
export function rate(perSecond: number | null | undefined): string {
  if (perSecond === null || perSecond === undefined || !Number.isFinite(perSecond)) return "–";
  if (perSecond === 0) return "0";
  if (perSecond < 0.001) return "<0.001";
  if (perSecond < 1) return String(Number(perSecond.toPrecision(2)));
  if (perSecond < 100) return perSecond.toFixed(1);
  return WHOLE.format(perSecond);
}

const two = (n: number) => String(n).padStart(2, "0");

/** hh:mm:ss of the reader's clock. */
export function clock(ms: number): string {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Date and time of the reader's clock, with thousandths. */
export function moment(timestamp: string | null): string {
  if (!timestamp) return "–";
  const ms = Date.parse(timestamp);
  if (Number.isNaN(ms)) return timestamp;
  const at = new Date(ms);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${clock(ms)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** The same, and in UTC: for titles, where the reader wants to know exactly. */
export function momentInUtc(timestamp: string): string {
  const ms = Date.parse(timestamp);
  return Number.isNaN(ms) ? timestamp : `${moment(timestamp)} (${new Date(ms).toISOString()})`;
}

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  return n < 1024 * 1024 ? `${(n / 1024).toFixed(1)} kB` : `${(n / 1024 / 1024).toFixed(1)} MB`;
}

export function shortId(id: string): string {
  return id.length > 13 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id;
}

export interface Piece {
  text: string;
  /** True where `text` stands for a character that must not be shown as it is. */
  escaped: boolean;
}

/**
 * Characters that would be invisible or would reorder what is beside them: controls other than
 * line feed and tab, bidi controls, zero-width and soft hyphen, line separators, fillers, tags,
 * lone surrogates. Joiners U+200C and U+200D stay: scripts and emoji need them.
 */
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Cs}/gu;

export function pieces(text: string): Piece[] {
  const out: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > from) out.push({ text: text.slice(from, match.index), escaped: false });
    out.push({ text: codePoint(match[0]), escaped: true });
    from = match.index + match[0].length;
  }
  if (from < text.length) out.push({ text: text.slice(from), escaped: false });
  return out;
}

function codePoint(character: string): string {
  const hex = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
  return `U+${hex}`;
}

/** The same as plain text, for titles and attributes. */
export function visible(text: string): string {
  return pieces(text)
    .map((piece) => (piece.escaped ? `‹${piece.text}›` : piece.text))
    .join("");
}

/** Cut at `limit` characters, never inside a surrogate pair. */
export function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const last = text.charCodeAt(limit - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit);
}

/** Safe inside single quotes of a POSIX shell. */
export function shellQuoted(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
