// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobFile, Sample } from "../src/generated/jobs.ts";
import { gridOf, loraOf, moved, swipe } from "../src/job/samples/grid.ts";

const sample = (number: number, at: { epoch?: number; step?: number }, createdAt = 0, prompt: string | null = `p${number}`): Sample =>
  ({ file: `${number}-${at.epoch}-${at.step}-${createdAt}.png`, path: "/x", number, prompt, size: 1, createdAt, ...at });
const file = (name: string, about: Partial<JobFile>): JobFile =>
  ({ name, kind: "lora", path: "/x", size: 1, createdAt: 0, ...about });

test("prompts are rows, and moments columns in the order of the training", () => {
  const { rows, moments } = gridOf([
    sample(0, { epoch: 0, step: 0 }), sample(1, { epoch: 0, step: 0 }), sample(1, { step: 50 }), sample(0, { epoch: 1, step: 100 }),
  ]);
  assert.deepEqual(rows, [{ number: 0, prompt: "p0" }, { number: 1, prompt: "p1" }]);
  assert.deepEqual(moments.map(({ id, samples }) => [id, [...samples.keys()]]), [["e0", [0, 1]], ["s50", [1]], ["e1", [0]]]);
});

test("of a moment that was drawn again, the newest sample is shown", () => {
  const { moments } = gridOf([sample(0, { epoch: 1 }, 20), sample(0, { epoch: 1 }, 10)]);
  assert.equal(moments[0]?.samples.get(0)?.createdAt, 20);
});

test("a prompt that one sample does not tell is known from another", () => {
  assert.equal(gridOf([sample(0, { epoch: 1 }), sample(0, { epoch: 2 }, 0, null)]).rows[0]?.prompt, "p0");
});

test("the LoRA of a moment is the one of its step or epoch, and none was saved at the start", () => {
  const files = [file("a-000001", { epoch: 1, step: 100 }), file("a-step50", { step: 50 }), file("s", { kind: "state", epoch: 2 })];
  const of = (epoch: number | null, step: number | null) => loraOf({ id: "", epoch, step, samples: new Map() }, files)?.name;
  assert.deepEqual([of(1, 100), of(null, 50), of(1, null), of(2, 200), of(0, 0)], ["a-000001", "a-step50", "a-000001", undefined, undefined]);
});

test("keys lead to the neighbours and not beyond the edges", () => {
  const at = { row: 0, column: 1 };
  assert.deepEqual(moved(at, "right", 2, 2), at);
  assert.deepEqual(moved(at, "left", 2, 2), { row: 0, column: 0 });
  assert.deepEqual(moved(at, "up", 2, 2), at);
  assert.deepEqual(moved(at, "down", 2, 2), { row: 1, column: 1 });
  assert.deepEqual(moved(at, "first", 2, 5), { row: 0, column: 0 });
  assert.deepEqual(moved(at, "last", 2, 5), { row: 0, column: 4 });
});

test("a swipe pulls the neighbour in, and a tap does not", () => {
  assert.deepEqual([swipe(-90, 20), swipe(90, 20), swipe(5, -80), swipe(5, 80), swipe(9, 9)], ["right", "left", "down", "up", null]);
});
