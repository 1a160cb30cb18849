// SPDX-License-Identifier: Apache-2.0
// The card with the loss: each step thin, smoothed thick, the validation loss and the learning rate.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { type Chart, chart, type Drawing, type Line, type Mark, type Range, type Value } from "../common/chart.ts";
import { decimal, whole } from "../common/format.ts";
import { keep, kept } from "../common/kept.ts";
import { follow, listen } from "../common/live.ts";
import { parameters, set } from "../common/route.ts";
import { hasEnded } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { append, type Lowest, lowest, NONE, type Point, pointsOf, smoothed, some, trendOf } from "./measured.ts";

const says = text.job.loss;
const POINTS = 2000; // about as many as there are pixels
const ROWS = 100;
const DIGITS = 4;

export function Loss({ job }: { job: Job }) {
  const { name } = job.context;
  const measured = useSignal(NONE);
  const problem = useSignal("");
  useEffect(() => {
    measured.value = NONE;
    const unlisten = listen("problem", ({ stream, parameters: { message } }) => {
      if (stream === "metrics") problem.value = message;
    });
    const unfollow = follow("metrics", { metrics: name, after: "", points: String(POINTS) }, (news) => {
      if (news.name === name) measured.value = append(news.reset === true ? NONE : measured.value, news.metrics);
    });
    return () => { unlisten(); unfollow(); };
  }, [name]);
  const points = useMemo(() => pointsOf(measured.value), [measured.value]);
  return (
    <section class="panel loss">
      <h2>{says.title}</h2>
      {points.length > 0 ? <Drawn points={points} /> : <p class="muted empty">{hasEnded(job) ? says.none : says.soon}</p>}
      {problem.value !== "" && <p class="refused">{problem}</p>}
    </section>
  );
}

function Drawn({ points }: { points: readonly Point[] }) {
  const place = useRef<HTMLDivElement>(null);
  const weight = useSignal(Number(kept("smoothing") ?? "0.9"));
  const pointed = useSignal<number | null>(null);
  const logarithmic = parameters.value.get("scale") === "log";
  const withRate = parameters.value.has("rate");
  const range = rangeOf(parameters.value);
  const line = smoothed(points.map(({ loss }) => loss), weight.value);
  const best = lowest(points);
  const words = sentenceOf(points, weight.value);
  const drawing = drawingOf(points, line, best, withRate);
  const drawn = useRef<Chart | null>(null);
  useEffect(() => {
    if (place.current === null) return;
    const made = chart(place.current, drawing, {
      logarithmic, range, zoom, point: (index) => { pointed.value = index; },
    });
    drawn.current = made;
    return () => made.end();
  }, [drawing.lines.length, logarithmic, range?.join()]);
  useEffect(() => drawn.current?.update(drawing), [points, weight.value]);
  const last = points.at(-1)?.step ?? 0;
  return (
    <>
      <Readout point={points[pointed.value ?? points.length - 1]} mean={line[pointed.value ?? points.length - 1]} />
      <div class="chart" role="img" aria-label={words} ref={place} />
      <p class="facts keys">
        <span class="raw">{says.raw}</span><span class="mean">{says.smoothed}</span>
        {best !== null && <span class="validation">{says.validationLowest(decimal(best.value, DIGITS), whole(best.step))}</span>}
        {withRate && <span class="rate">{says.rate}</span>}
      </p>
      <div class="controls">
        <label>
          {says.smoothing}
          <input type="range" min="0" max="0.99" step="0.01" value={weight.value} onInput={(event) => {
            weight.value = Number(event.currentTarget.value);
            keep("smoothing", event.currentTarget.value);
          }} />
        </label>
        <Toggle on={logarithmic} words={says.logarithmic} flip={() => set({ scale: logarithmic ? [] : ["log"] }, { replace: true })} />
        <Toggle on={withRate} words={says.withRate} flip={() => set({ rate: withRate ? [] : ["1"] }, { replace: true })} />
        <button class="chip" onClick={() => zoom([last * 0.75, last])}>{says.lastQuarter}</button>
        <button class="chip" disabled={range === null} onClick={() => zoom(null)}>{says.reset}</button>
      </div>
      <p class="muted">{words}</p>
      <details>
        <summary>{says.asTable}</summary>
        <Table points={points} />
      </details>
    </>
  );
}

function drawingOf(points: readonly Point[], mean: readonly Value[], best: Lowest | null, withRate: boolean): Drawing {
  const lines: Line[] = [
    { values: points.map(({ loss }) => loss), colour: "--edge", width: 0.7 },
    { values: mean, colour: "--accent", width: 2.5 },
  ];
  if (best !== null) lines.push({ values: points.map(({ validation }) => validation), colour: "--info", width: 2 });
  if (withRate) lines.push({ values: points.map(({ rate }) => rate), colour: "--good", width: 1.5, axis: "right", dash: [6, 4] });
  const marks: Mark[] = points.flatMap(({ step, notFinite }) =>
    (notFinite ? [{ x: step, y: null, colour: "--bad", words: says.notFinite }] : []));
  if (best !== null) marks.push({ x: best.step, y: best.value, colour: "--info", words: says.lowest });
  return { x: points.map(({ step }) => step), lines, marks };
}

function Toggle({ on, words, flip }: { on: boolean; words: string; flip: () => void }) {
  return <button class="chip" aria-pressed={on} onClick={flip}>{words}</button>;
}

function Readout({ point, mean }: { point: Point | undefined; mean: number | null | undefined }) {
  return (
    <p class="facts">
      <span>{says.step} <b>{whole(point?.step)}</b></span>
      <span>{says.title} <b>{decimal(point?.loss, DIGITS)}</b></span>
      <span>{says.smoothed} <b>{decimal(mean, DIGITS)}</b></span>
      {point?.validation != null && <span>{says.validation} <b>{decimal(point.validation, DIGITS)}</b></span>}
      {point?.rate != null && <span>{says.rate} <b>{point.rate.toPrecision(3)}</b></span>}
    </p>
  );
}

function Table({ points }: { points: readonly Point[] }) {
  const rows = some(points.filter(({ loss, validation }) => loss != null || validation != null), ROWS);
  return (
    <div class="scrolls" tabIndex={0} role="group" aria-label={says.asTable}>
      <table>
        <thead><tr><th>{says.step}</th><th>{says.title}</th><th>{says.validation}</th><th>{says.rate}</th></tr></thead>
        <tbody>
          {rows.map(({ step, loss, validation, rate }) => (
            <tr key={step}>
              <td>{whole(step)}</td><td>{decimal(loss, DIGITS)}</td><td>{decimal(validation, DIGITS)}</td>
              <td>{rate?.toPrecision(3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function sentenceOf(points: readonly Point[], weight: number): string {
  const trend = trendOf(points, weight);
  const bad = points.filter(({ notFinite }) => notFinite).length;
  const said = trend === null ? "" : says.trend(decimal(trend.first, DIGITS), decimal(trend.last, DIGITS), whole(trend.step), trend.still);
  return bad === 0 ? said : `${said} ${says.bad(bad)}`.trim();
}

function rangeOf(given: URLSearchParams): Range {
  const [from, to] = [Number(given.get("from") ?? NaN), Number(given.get("to") ?? NaN)];
  return from < to ? [from, to] : null;
}

function zoom(range: Range): void {
  const [from, to] = range ?? [];
  set({ from: from === undefined ? [] : [String(Math.floor(from))], to: to === undefined ? [] : [String(Math.ceil(to))] }, { replace: true });
}
