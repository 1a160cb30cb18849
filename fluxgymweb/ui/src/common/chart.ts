// SPDX-License-Identifier: Apache-2.0
// Draws lines over a common x axis. The only module that knows uPlot, which is loaded for the first chart. Colours are
// custom properties of the style sheet.
import type uPlot from "uplot";
import { decimal, whole } from "./format.ts";

export type Value = number | null | undefined;
export type Line = {
  values: readonly Value[];
  colour: string;
  width: number;
  axis?: "left" | "right";
  dash?: number[];
};
export type Mark = { x: number; y: number | null; colour: string; words: string };
export type Drawing = { x: readonly number[]; lines: readonly Line[]; marks: readonly Mark[] };
export type Range = readonly [number, number] | null;
export type Options = {
  logarithmic: boolean;
  range: Range;
  // The user has chosen a part of the x axis, or all of it.
  zoom: (range: Range) => void;
  // The pointer is at this element.
  point: (index: number | null) => void;
};

const AXIS = 54;

export type Chart = {
  // Draws other values of the same lines. A zoom that is being dragged goes on.
  update: (drawing: Drawing) => void;
  end: () => void;
};

// Draws into a place that has a height of its own.
export function chart(place: HTMLElement, first: Drawing, options: Options): Chart {
  let Plot: typeof uPlot | null = null;
  let plot: uPlot | null = null;
  let drawing = first;
  let ended = false;
  const build = () => {
    plot?.destroy();
    plot = Plot && new Plot(optionsOf(place, () => drawing, options), dataOf(drawing, options), place);
  };
  import("uplot").then((loaded) => {
    if (ended) return;
    Plot = loaded.default;
    build();
  }, () => {}); // the server is away or of another version, which the page's bar says
  const resized = new ResizeObserver(() => {
    if (plot !== null && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: place.clientHeight });
  });
  resized.observe(place);
  const themed = new MutationObserver(build);
  themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", build);
  return {
    update: (next) => {
      drawing = next;
      plot?.setData(dataOf(drawing, options));
    },
    end: () => {
      ended = true;
      resized.disconnect();
      themed.disconnect();
      system.removeEventListener("change", build);
      plot?.destroy();
    },
  };
}

function dataOf({ x, lines }: Drawing, { logarithmic }: Options): uPlot.AlignedData {
  const shown = ({ values, axis }: Line) =>
    logarithmic && axis !== "right" ? values.map((value) => (value != null && value <= 0 ? undefined : value)) : [...values];
  return [[...x], ...lines.map(shown)] as uPlot.AlignedData;
}

function optionsOf(place: HTMLElement, drawn: () => Drawing, options: Options): uPlot.Options {
  const { lines } = drawn();
  const colour = (name: string) => resolved(place, name);
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const right = lines.some((line) => line.axis === "right");
  return {
    width: place.clientWidth,
    height: place.clientHeight,
    legend: { show: false },
    padding: [8, right ? 0 : 12, 0, 0],
    cursor: { y: false, drag: { x: true, setScale: false }, points: { show: false } },
    scales: {
      x: { time: false, ...(options.range !== null && { range: [...options.range] as [number, number] }) },
      y: { distr: options.logarithmic ? 3 : 1 },
      right: {},
    },
    axes: [
      { ...axis, size: 28, values: (_, splits) => splits.map((split) => whole(split)) },
      { ...axis, size: AXIS, values: (_, splits) => splits.map((split) => (split == null ? "" : digits(split))) },
      ...(right ? [{
        ...axis, scale: "right", side: 1 as const, size: AXIS + 16, grid: { show: false },
        values: (_: uPlot, splits: number[]) => splits.map((split) => (split === 0 ? "0" : split.toExponential(1))),
      }] : []),
    ],
    series: [{}, ...lines.map((line) => ({
      stroke: colour(line.colour), width: line.width, scale: line.axis === "right" ? "right" : "y", points: { show: false },
      ...(line.dash && { dash: line.dash }),
    }))],
    hooks: {
      draw: [(plot) => { for (const mark of drawn().marks) drawMark(plot, mark, colour(mark.colour)); }],
      setCursor: [(plot) => options.point(plot.cursor.idx ?? null)],
      setSelect: [(plot) => {
        const { left, width } = plot.select;
        if (width > 4) options.zoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
      }],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => options.zoom(null))],
    },
  };
}

function digits(value: number): string {
  return decimal(value, value === 0 || value >= 10 ? 0 : value >= 1 ? 1 : value >= 0.01 ? 2 : 4);
}

// A ring at a point; without a y, a cross above the x axis.
function drawMark(plot: uPlot, { x, y, words }: Mark, colour: string): void {
  const [first, last] = [plot.scales["x"]?.min ?? 0, plot.scales["x"]?.max ?? 0];
  if (x < first || x > last) return;
  const pixels = devicePixelRatio;
  const left = plot.valToPos(x, "x", true);
  const top = y === null ? plot.bbox.top + plot.bbox.height - 8 * pixels : plot.valToPos(y, "y", true);
  const pen = plot.ctx;
  pen.save();
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 2 * pixels;
  pen.beginPath();
  const side = 5 * pixels;
  if (y === null) {
    for (const turn of [1, -1]) {
      pen.moveTo(left - side, top - side * turn);
      pen.lineTo(left + side, top + side * turn);
    }
  } else pen.arc(left, top, side, 0, 2 * Math.PI);
  pen.stroke();
  pen.font = `${12 * pixels}px system-ui, sans-serif`;
  pen.textAlign = left > plot.bbox.left + plot.bbox.width / 2 ? "right" : "left";
  pen.fillText(words, left + (pen.textAlign === "left" ? 2 : -2) * side, top - side);
  pen.restore();
}

// A canvas needs the colour itself, not the property that names it.
function resolved(place: HTMLElement, name: string): string {
  place.style.color = `var(${name})`;
  const { color } = getComputedStyle(place);
  place.style.color = "";
  return color;
}
