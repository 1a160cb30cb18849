// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { append, lowest, NONE, pointsOf, smoothed, some, trendOf } from "../src/job/measured.ts";
import type { Measurements } from "../src/generated/jobs.ts";

type Given = [attempt: number, step: number, loss: number | null, validation?: number];

function measured(rows: Given[], notFinite: number[] = []): Measurements {
  return {
    ...NONE, attempt: rows.map(([attempt]) => attempt), step: rows.map(([, step]) => step),
    loss: rows.map(([, , loss]) => loss), validation: rows.map(([, , , validation]) => validation ?? null),
    rate: rows.map(() => 0.1), notFinite,
  };
}

const drawn = (rows: Given[], notFinite?: number[]) =>
  pointsOf(measured(rows, notFinite)).map(({ step, loss }) => [step, loss]);

test("steps that were trained again are those of the later attempt, after a gap", () => {
  assert.deepEqual(
    drawn([[1, 1, 9], [1, 2, 8], [1, 3, 7], [1, 4, 6], [2, 3, 5], [2, 4, 4]]),
    [[1, 9], [2, null], [3, 5], [4, 4]],
  );
});

test("steps rise also after several restarts from the same checkpoint", () => {
  const steps = pointsOf(measured([[1, 1, 9], [1, 5, 8], [2, 4, 7], [3, 4, 6], [3, 5, 5], [4, 1, 4]])).map(({ step }) => step);
  assert.deepEqual(steps, [1]);
  assert.deepEqual(drawn([[1, 1, 9], [1, 5, 8], [2, 4, 7], [3, 4, 6]]), [[1, 9], [3, null], [4, 6]]);
});

test("a validation loss joins the point of its step and makes no gap", () => {
  const [point, ...rest] = pointsOf(measured([[1, 1, 9], [1, 1, null, 3]]));
  assert.deepEqual([point?.loss, point?.validation, rest], [9, 3, []]);
  assert.equal(pointsOf(measured([[1, 1, 9], [1, 2, null, 3]]))[1]?.loss, undefined);
});

test("a loss that is no number is a gap with a mark", () => {
  const points = pointsOf(measured([[1, 1, 9], [1, 2, null], [1, 3, 8]], [1]));
  assert.deepEqual(points.map(({ loss, notFinite }) => [loss, notFinite]), [[9, false], [null, true], [8, false]]);
});

test("the marks keep their places when more is measured", () => {
  const both = append(measured([[1, 1, 9]]), measured([[1, 2, 8], [1, 3, null]], [1]));
  assert.deepEqual(both.notFinite, [2]);
  assert.deepEqual(both.step, [1, 2, 3]);
});

test("the first values are not drawn towards zero, and gaps stay", () => {
  assert.deepEqual(smoothed([4, 4, undefined, null, 4], 0.9).map((one) => one && Math.round(one * 1e9) / 1e9), [4, 4, undefined, null, 4]);
  assert.deepEqual(smoothed([4, 2], 0.5), [4, (0.5 * 2 + 0.5 * 2) / 0.75]);
  assert.deepEqual(smoothed([4, 2], 0), [4, 2]);
});

test("the lowest validation loss is found, if there is one", () => {
  assert.deepEqual(lowest(pointsOf(measured([[1, 1, 9, 5], [1, 2, 8, 3], [1, 3, 7, 4]]))), { step: 2, value: 3 });
  assert.equal(lowest(pointsOf(measured([[1, 1, 9]]))), null);
});

test("the trend tells where the loss went at last", () => {
  const of = (...losses: number[]) => trendOf(pointsOf(measured(losses.map((loss, index) => [1, index + 1, loss]))), 0);
  assert.equal(of(8, 4, 2, 1)?.still, "level");
  assert.equal(of(8, 7, 6, 5, 4, 3, 2, 1)?.still, "falling");
  assert.equal(of(1, 1, 1, 1, 1, 1, 2, 3)?.still, "rising");
  assert.deepEqual([of(8, 1)?.first, of(8, 1)?.last, of(8, 1)?.step], [8, 1, 2]);
  assert.equal(of(), null);
});

test("some of many points are shown, with both ends", () => {
  assert.deepEqual(some([0, 1, 2, 3, 4, 5, 6, 7, 8], 3), [0, 4, 8]);
  assert.deepEqual(some([1, 2], 3), [1, 2]);
});
