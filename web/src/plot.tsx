/** A line plot over time: uPlot on a canvas, and the same figures as a table for those who ask. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock } from "./format";
import { theme } from "./theme";

export interface Line {
  label: string;
  /** A custom property of the style sheet. */
  colour: string;
  dash?: number[];
  /** Values stand alone between gaps: mark each. */
  points?: boolean;
  values: (number | null)[];
}

export interface PlotProps {
  title: string;
  /** Seconds since 1970, one for each value. */
  times: number[];
  lines: Line[];
  windowSeconds: number;
  /** Right edge, seconds since 1970. */
  until: number;
  height: number;
  show: (value: number | null) => string;
}


export function Plot(props: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = box.current!;
    const build = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(latest, element), data(latest.current), element);
    };
    // Now, and whenever the theme changes: colours are those of the style sheet.
    const stop = theme.subscribe(build);
    const sizes = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: latest.current.height });
    });
    sizes.observe(element);
    return () => {
      stop();
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData(data(props));
  });

  return (
    <figure class="plot">
      <figcaption>{props.title}</figcaption>
      <div class="canvas" ref={box} aria-hidden="true" />
      <AsTable {...props} />
    </figure>
  );
}

function data({ times, lines }: PlotProps): uPlot.AlignedData {
  return [times, ...lines.map((line) => line.values)];
}

function options(latest: { current: PlotProps }, element: HTMLElement): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const { lines, height } = latest.current;
  const font = `12px ${style.fontFamily}`;
  const axis = { stroke: colour("--faint"), font, ticks: { show: false } };
  return {
    width: Math.max(200, element.clientWidth),
    height,
    // Half of the time that may stand at the right edge.
    padding: [null, 28, null, null],
    cursor: { drag: { setScale: false }, sync: { key: "time" }, points: { size: 6 } },
    legend: {
      live: true,
      markers: {
        width: 0,
        fill: (_plot, index) => stroke(lines[index - 1], colour),
      },
    },
    scales: {
      x: {
        time: true,
        range: () => [latest.current.until - latest.current.windowSeconds, latest.current.until],
      },
      y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 70,
        size: 30,
        values: (_plot, splits) => {
          const apart = (splits[1] ?? 60) - (splits[0] ?? 0);
          return splits.map((s) => clock(s * 1000).slice(0, apart < 60 ? 8 : 5));
        },
      },
      {
        ...axis,
        grid: { stroke: colour("--rule"), width: 1 },
        space: 36,
        size: labelsWide(font),
        values: (_plot, splits) => splits.map((value) => latest.current.show(value)),
      },
    ],
    series: [
      { label: "at", value: (_plot, value) => (value === null ? "last" : clock(value * 1000)) },
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 2,
        // Counted on the canvas, in pixels of the screen.
        ...(line.dash ? { dash: line.dash.map((length) => length * uPlot.pxRatio) } : {}),
        points: line.points ? { show: true, size: 4, filter: alone } : { show: false },
        // Nothing pointed at: the last value.
        value: (plot: uPlot, value: number | null, index: number, at: number | null) =>
          latest.current.show(at === null ? (plot.data[index]?.at(-1) ?? null) : value),
      })),
    ],
  };
}

/** A background that looks as the line does: browsers dash a short border as they like, or not at all. */
function stroke(line: Line | undefined, colour: (name: string) => string): string {
  if (!line) return "";
  const ink = colour(line.colour);
  const [drawn = 0, left = 0] = line.dash ?? [];
  const stops = `${ink} 0 ${drawn}px, transparent 0 ${drawn + left}px`;
  return drawn ? `repeating-linear-gradient(90deg, ${stops})` : ink;
}

const LABELS_LEAST_WIDE = 58;
/** Between label and plot, and a little at the edge. */
const LABELS_GAP = 9;

/** As wide as the longest label, and no narrower than most need, so that plots stand in line. */
function labelsWide(font: string) {
  return (plot: uPlot, labels: string[] | null): number => {
    plot.ctx.save();
    plot.ctx.font = font;
    const widths = (labels ?? []).map((label) => plot.ctx.measureText(label).width);
    plot.ctx.restore();
    return Math.max(LABELS_LEAST_WIDE, Math.ceil(Math.max(0, ...widths)) + LABELS_GAP);
  };
}

/** The values that no line reaches, because their neighbours are missing. */
function alone(plot: uPlot, index: number): number[] {
  const values = plot.data[index] ?? [];
  const none = (at: number) => (values[at] ?? null) === null;
  return [...values.keys()].filter((at) => !none(at) && none(at - 1) && none(at + 1));
}

function AsTable({ title, times, lines, show }: PlotProps) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>As a table</summary>
      {open && (
        <div class="table-box short" tabIndex={0}>
          <table>
            <caption class="unseen">{title}</caption>
            <thead>
              <tr>
                <th scope="col">At</th>
                {lines.map((line) => (
                  <th scope="col" class="number" key={line.label}>
                    {line.label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {times
                .map((time, index) => (
                  <tr key={time}>
                    <th scope="row">{clock(time * 1000)}</th>
                    {lines.map((line) => (
                      <td class="number" key={line.label}>
                        {show(line.values[index] ?? null)}
                      </td>
                    ))}
                  </tr>
                ))
                .reverse()}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
