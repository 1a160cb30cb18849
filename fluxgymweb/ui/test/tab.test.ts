// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING, remember, type Shown, tabOf } from "../src/common/tab.ts";

const at = (name: string, state: Shown["state"], step?: number): Shown => ({
  name, state, ...(step !== undefined && { progress: { phase: "training", step, totalSteps: 200, remainingSeconds: 90, updatedAt: 1000 } }),
});

test("the title tells how far the job is that is furthest", () => {
  const { title, badge } = tabOf(NOTHING, [at("a", "running"), at("b", "running", 74), at("c", "queued", 199)], 1030);
  assert.equal(title, "37% · b · 1 min");
  assert.deepEqual(badge, { done: 37, end: null });
});

test("the tab says how a job ended only if it was seen running and no other job runs", () => {
  const before = remember(NOTHING, [at("a", "running", 100), at("old", "failed")]);
  const ended = [at("a", "completed", 200), at("old", "failed")];
  const after = remember(before, ended);
  assert.equal(tabOf(after, ended, 1000).title, "✓ a");
  assert.equal(tabOf(NOTHING, ended, 1000).title, "FluxGym");
  assert.equal(tabOf(after, [...ended, at("b", "starting")], 1000).title, "b");
  assert.deepEqual(remember(after, []).ended, { name: "a", end: "completed" });
});

test("the job that is viewed goes before all others", () => {
  const jobs = [at("a", "running", 50), at("b", "running", 74), at("old", "failed"), at("next", "queued")];
  const title = (viewed: string) => tabOf(NOTHING, jobs, 1000, viewed).title;
  assert.equal(title("a"), "25% · a · 2 min");
  assert.equal(title("old"), "✕ old · FluxGym");
  assert.equal(title("next"), "next · FluxGym");
  assert.equal(tabOf(NOTHING, jobs, 1000, "old").badge.end, "failed");
});
