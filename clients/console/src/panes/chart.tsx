// A small chart: lines over the last five minutes.

import type { ReactElement } from "react";

/** One line. Where a value is missing, the line is, too. */
export interface Series {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
  /** `1` to `3`: the colour of the style sheet. */
  readonly colour: 1 | 2 | 3;
}

const WIDTH = 600;
const HEIGHT = 140;

/** Parts of the height that have a line. */
const GRID = [0, 0.25, 0.5, 0.75, 1];

export function Chart(props: {
  title: string;
  series: readonly Series[];
  format: (value: number) => string;
  summary: string;
}): ReactElement {
  const { title, series, format } = props;
  const top = niceTop(Math.max(0, ...series.flatMap(({ values }) => values.filter((value) => value !== undefined))));
  return (
    <figure className="chart">
      <figcaption>
        <h3>{title}</h3>
        <ul className="legend">
          {series.map(({ name, colour, values }) => (
            <li key={name}>
              <span className={`swatch colour-${colour}`} aria-hidden /> {name}{" "}
              <b>{latest(values) === undefined ? "–" : format(latest(values) ?? 0)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div className="plot">
        <div className="axis" aria-hidden>
          <span>{format(top)}</span>
          <span>{format(top / 2)}</span>
          <span>0</span>
        </div>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={props.summary}>
          {GRID.map((part) => (
            <line key={part} className="grid" x1={0} x2={WIDTH} y1={part * HEIGHT} y2={part * HEIGHT} />
          ))}
          {series.map(({ name, colour, values }) => (
            <path key={name} className={`line colour-${colour}`} d={pathOf(values, top)} />
          ))}
        </svg>
      </div>
      <div className="times" aria-hidden>
        <span>5 min ago</span>
        <span>now</span>
      </div>
    </figure>
  );
}

/** The last value there is within the last few seconds. */
function latest(values: readonly (number | undefined)[]): number | undefined {
  return values.slice(-4).findLast((value) => value !== undefined);
}

/** Seconds without a value that a line goes on over: a quiet feed has a line, and not dots. */
const GAP_MAX_S = 10;

/** The lines between values that follow each other closely; a value alone is a dash. */
function pathOf(values: readonly (number | undefined)[], top: number): string {
  let path = "";
  let last = Number.NEGATIVE_INFINITY;
  values.forEach((value, index) => {
    if (value === undefined) return;
    const isOpen = index - last <= GAP_MAX_S;
    last = index;
    const x = ((index + 0.5) / values.length) * WIDTH;
    const y = HEIGHT - (value / top) * HEIGHT;
    path += `${isOpen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    // One alone is a dash of two seconds.
    if (!isOpen) path += `h${(2 * WIDTH) / values.length}`;
  });
  return path;
}

/** 1, 2 or 5 times a power of ten, not below the value. */
export function niceTop(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= value) ?? value;
}
