/** A line of a quarter of an hour in a tile. */

/** Values summed up (or, where a value stands for itself, the largest kept) in so many bins. */
export function binned(values: readonly (number | null)[], bins: number, sum: boolean): (number | null)[] {
  const each = Math.max(1, Math.ceil(values.length / bins));
  const out: (number | null)[] = [];
  for (let end = values.length; end > 0; end -= each) {
    const some = values.slice(Math.max(0, end - each), end).filter((one): one is number => one !== null);
    out.unshift(some.length ? (sum ? some.reduce((a, b) => a + b, 0) : Math.max(...some)) : null);
  }
  return out;
}

/** The path of a line through them, in a box so wide and high; gaps stay gaps, zero is the ground. */
export function sparkPath(values: readonly (number | null)[], width: number, height: number): string {
  const most = Math.max(...values.map((one) => one ?? 0), 0);
  if (values.length < 2) return "";
  const x = (index: number) => ((index / (values.length - 1)) * width).toFixed(1);
  const y = (value: number) => (height - 1 - (most > 0 ? (value / most) * (height - 2) : 0)).toFixed(1);
  let path = "";
  let pen = false;
  values.forEach((value, index) => {
    if (value === null) {
      pen = false;
      return;
    }
    // A value that stands alone would be a line of no length.
    const alone = !pen && (values[index + 1] ?? null) === null;
    path += `${pen ? "L" : "M"}${x(index)} ${y(value)}${alone ? "h1" : ""}`;
    pen = true;
  });
  return path;
}
