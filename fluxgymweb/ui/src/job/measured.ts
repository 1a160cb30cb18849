// SPDX-License-Identifier: Apache-2.0
// What a training has measured, as points by step, and what the chart makes of them.
import type { Measurements } from "../generated/jobs.ts";

// `undefined`: not measured at this step. `null`: a gap of the line, because of a restart or a value that is no number.
export type Value = number | null | undefined;
export type Point = { step: number; attempt: number; loss: Value; validation: Value; rate: Value; notFinite: boolean };

export const NONE: Measurements = {
  attempt: [], step: [], epoch: [], time: [], loss: [], mean: [], validation: [], rate: [], secondsPerStep: [],
  memory: [], notFinite: [],
};

export function append(before: Measurements, news: Measurements): Measurements {
  return {
    attempt: [...before.attempt, ...news.attempt],
    step: [...before.step, ...news.step],
    epoch: [...before.epoch, ...news.epoch],
    time: [...before.time, ...news.time],
    loss: [...before.loss, ...news.loss],
    mean: [...before.mean, ...news.mean],
    validation: [...before.validation, ...news.validation],
    rate: [...before.rate, ...news.rate],
    secondsPerStep: [...before.secondsPerStep, ...news.secondsPerStep],
    memory: [...before.memory, ...news.memory],
    notFinite: [...before.notFinite, ...news.notFinite.map((index) => before.step.length + index)],
  };
}

// One point per step, with rising steps. Steps that a later attempt has trained again are those of that attempt, and a
// point without values separates two attempts.
export function pointsOf(measured: Measurements): Point[] {
  const points: Point[] = [];
  const bad = new Set(measured.notFinite);
  measured.step.forEach((step, index) => {
    const attempt = measured.attempt[index] ?? 0;
    let last = points.at(-1);
    if (last !== undefined && last.attempt !== attempt) {
      while (last !== undefined && last.step >= step - 1) {
        points.pop();
        last = points.at(-1);
      }
      if (last !== undefined) points.push(gap(step - 1, attempt));
    }
    if (last === undefined || last.attempt !== attempt || last.step !== step) {
      points.push({ step, attempt, loss: undefined, validation: undefined, rate: undefined, notFinite: false });
    }
    const point = points.at(-1);
    if (point === undefined) return;
    point.loss = measured.loss[index] ?? point.loss;
    point.validation = measured.validation[index] ?? point.validation;
    point.rate = measured.rate[index] ?? point.rate;
    if (bad.has(index)) {
      point.notFinite = true;
      point.loss ??= null;
    }
  });
  return points;
}

function gap(step: number, attempt: number): Point {
  return { step, attempt, loss: null, validation: null, rate: null, notFinite: false };
}

// The exponential moving average with correction of its bias: each value counts from the first one on, and gaps stay.
export function smoothed(values: readonly Value[], weight: number): Value[] {
  let sum = 0;
  let weights = 0;
  return values.map((value) => {
    if (value == null) return value;
    sum = weight * sum + (1 - weight) * value;
    weights = weight * weights + (1 - weight);
    return sum / weights;
  });
}

export type Lowest = { step: number; value: number };

export function lowest(points: readonly Point[]): Lowest | null {
  let found: Lowest | null = null;
  for (const { step, validation } of points) {
    if (validation != null && (found === null || validation < found.value)) found = { step, value: validation };
  }
  return found;
}

export type Trend = { first: number; last: number; step: number; still: "falling" | "rising" | "level" };

// Where the smoothed loss began and is now, and where it went in the last quarter.
export function trendOf(points: readonly Point[], weight: number): Trend | null {
  const line = smoothed(points.map(({ loss }) => loss), weight);
  const known = line.flatMap((value, index) => (value == null ? [] : [[points[index]?.step ?? 0, value] as const]));
  const [begin, before, end] = [known[0], known[Math.floor(known.length * 0.75)], known.at(-1)];
  if (begin === undefined || before === undefined || end === undefined) return null;
  const change = (end[1] - before[1]) / Math.abs(before[1] || 1);
  return { first: begin[1], last: end[1], step: end[0], still: change < -0.02 ? "falling" : change > 0.02 ? "rising" : "level" };
}

// About `most` of the points, evenly, with the first and the last.
export function some<T>(points: readonly T[], most: number): T[] {
  if (points.length <= most) return [...points];
  const between = (points.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, index) => points[Math.round(index * between)] as T);
}
