// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { ABSENT, age, duration, percent, size, speed } from "../src/common/format.ts";
import { percentDone, secondsLeft } from "../src/common/progress.ts";
import { job } from "./job.ts";

function table<T extends readonly unknown[]>(shown: (...given: T) => unknown, rows: readonly (readonly [T, unknown])[]) {
  for (const [given, wanted] of rows) {
    test(`${shown.name}(${given.join(", ")}) is ${wanted}`, () => assert.equal(shown(...given), wanted));
  }
}

table(duration, [
  [[0], "0 s"], [[59.4], "59 s"], [[59.6], "1 min"], [[3599], "1 h 00 min"], [[3780], "1 h 03 min"],
  [[86400 * 3 + 3600 * 4], "3 d 4 h"], [[null], ABSENT], [[-5], "0 s"],
]);
table(size, [[[0], "0 B"], [[1023], "1,023 B"], [[1024], "1.0 KiB"], [[1048575], "1.0 MiB"], [[500 * 1024 ** 3], "500 GiB"]]);
table(age, [[[100, 99], "0 s"], [[0, 3599], "59 min"], [[0, 47 * 3600], "47 h"], [[0, 86400 * 9], "9 d"]]);
table(percent, [[[1, 3], 33], [[999, 1000], 99], [[5, 0], null], [[null, 5], null], [[7, 5], 100]]);
table(speed, [[[2], "2.00 s/step"], [[0.25], "4.00 steps/s"], [[0], ABSENT]]);

const progress = { phase: "training", step: 30, totalSteps: 100, remainingSeconds: 60, updatedAt: 500 } as const;

test("what is left shrinks between two reports of the trainer", () => {
  const running = job("a", { state: "running", progress });
  assert.equal(secondsLeft(running, 520), 40);
  assert.equal(secondsLeft(running, 600), 0);
  assert.equal(secondsLeft(running, 400), 60); // the clocks differ
  assert.equal(secondsLeft(job("a", { state: "stopped", progress }), 520), null);
  assert.equal(percentDone(running), 30);
  assert.equal(percentDone(job("a", { state: "completed" })), 100);
});
