// SPDX-License-Identifier: Apache-2.0
// The hour of a GPU's readings as lines in a box of WIDTH × HEIGHT.

export const WIDTH = 100;
export const HEIGHT = 30;
const HOUR_SECONDS = 3600;
// Readings that are further apart are not joined: nothing is known of the time between them.
const GAP_SECONDS = 60;

type Values = readonly (number | null)[];

// The points of each line, as a polyline takes them. `top`: the value at the upper edge.
export function linesOf(time: readonly number[], values: Values, top: number, now: number): string[] {
  const lines: string[][] = [];
  let last = -Infinity;
  time.forEach((at, place) => {
    const value = values[place];
    if (value == null || at < now - HOUR_SECONDS) return;
    const x = WIDTH * Math.min(1, 1 - (now - at) / HOUR_SECONDS);
    const y = HEIGHT * (1 - Math.min(1, value / top));
    const point = `${x.toFixed(2)},${y.toFixed(2)}`;
    if (at - last <= GAP_SECONDS) lines.at(-1)?.push(point);
    else lines.push([point]);
    last = at;
  });
  // A line of one point is not drawn; one of no length is a dot.
  return lines.map((line) => (line.length === 1 ? [...line, ...line] : line).join(" "));
}

export function rangeOf(values: Values): [low: number, high: number] | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : [Math.min(...known), Math.max(...known)];
}
