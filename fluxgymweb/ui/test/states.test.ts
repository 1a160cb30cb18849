// SPDX-License-Identifier: Apache-2.0
// Every combination of state, wait, phase and verdict of the interface has words, a shape and a colour.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Look, look } from "../src/common/states.ts";
import { Phase, State, Verdict, WaitingFor } from "../src/generated/jobs.ts";

const none = [null] as const;

function* combinations() {
  for (const state of State)
    for (const waitingFor of [...none, ...WaitingFor])
      for (const phase of [...none, ...Phase])
        for (const verdict of [...none, ...Verdict]) yield { state, waitingFor, phase, verdict };
}

const written = ({ words, shape, tone }: Look) => `${words}|${shape}|${tone}`;

test("each combination has words and a look of its own, without wire names", () => {
  let walked = 0;
  for (const facts of combinations()) {
    const { words, shape, tone } = look(facts);
    assert.match(words, /^[A-Z][A-Za-z ,]+$/, JSON.stringify(facts));
    assert.ok(shape && tone, JSON.stringify(facts));
    walked += 1;
  }
  assert.equal(walked, State.length * (WaitingFor.length + 1) * (Phase.length + 1) * (Verdict.length + 1));
});

test("no two states look alike, nor do two waits, phases or verdicts", () => {
  const alike = (looks: Look[]) => looks.length - new Set(looks.map(({ words }) => words)).size;
  assert.equal(alike(State.map((state) => look({ state }))), 0);
  assert.equal(alike(WaitingFor.map((waitingFor) => look({ state: "queued", waitingFor }))), 0);
  assert.equal(alike(WaitingFor.map((waitingFor) => look({ state: "interrupted", waitingFor }))), 0);
  assert.equal(alike(Phase.map((phase) => look({ state: "running", phase }))), 0);
});

test("the colour is never the only difference", () => {
  const colours = new Map<string, string>();
  for (const facts of combinations()) {
    const { words, shape, tone } = look(facts);
    const before = colours.get(`${words}|${shape}`);
    assert.ok(before === undefined || before === tone, `${words}: ${before} and ${tone}`);
    colours.set(`${words}|${shape}`, tone);
  }
});

for (const [facts, wanted] of [
  [{ state: "queued", waitingFor: "gpu" }, "Queued, waits for a GPU|quarter|wait"],
  [{ state: "queued", waitingFor: "held" }, "Queued, held|pause|calm"],
  [{ state: "interrupted", waitingFor: "back_off" }, "Interrupted, retries after a pause|again|warn"],
  [{ state: "running", phase: "loading" }, "Loading the model|half|busy"],
  [{ state: "running", phase: "training", verdict: "healthy" }, "Training|disc|good"],
  [{ state: "running", phase: "training", verdict: "stuck" }, "Stuck, training|warning|bad"],
  [{ state: "running", phase: "saving", verdict: "suspicious" }, "Suspicious, saving|warning|warn"],
  [{ state: "stopped", phase: "training", verdict: "stuck" }, "Stopped|square|calm"],
  [{ state: "lost" }, "Lost|question|bad"],
] as const) {
  test(`${JSON.stringify(facts)} is ${wanted}`, () => assert.equal(written(look(facts)), wanted));
}

test("a value of a newer daemon is shown by its name", () => {
  const newer = (facts: Record<string, string>) => look(facts as never).words;
  assert.equal(newer({ state: "being_moved" }), "being moved");
  assert.equal(newer({ state: "queued", waitingFor: "cheap_power" }), "Queued, cheap power");
  assert.equal(newer({ state: "running", phase: "merging_loras" }), "merging loras");
});
