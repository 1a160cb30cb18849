// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Offer, offersOf } from "../src/common/offers.ts";
import { State } from "../src/generated/jobs.ts";
import { job } from "./job.ts";

const OFFERS: Record<State, Offer[]> = {
  queued: ["hold", "move", "stop"],
  starting: ["stop"],
  running: ["stopLater", "stop"],
  stopping: ["stopNow"],
  stopped: ["resume", "remove"],
  completed: ["more", "remove"],
  failed: ["resume", "remove"],
  interrupted: ["hold", "move", "stop"],
  lost: ["stop", "assumeGone"],
  damaged: [],
};

for (const state of State) {
  test(`a job that is ${state} offers ${OFFERS[state].join(", ") || "nothing"}`, () => {
    assert.deepEqual(offersOf(job("a", { state })), OFFERS[state]);
  });
}

test("a held job is released and not held", () => {
  assert.deepEqual(offersOf(job("a", { waitingFor: "held" })), ["release", "move", "stop"]);
});

test("a trainer that saves on request is offered to", () => {
  assert.deepEqual(offersOf(job("a", { state: "running", canSave: true })), ["save", "stopLater", "stop"]);
});

test("a program makes no checkpoints and has no epochs", () => {
  const program = (state: State) => ({ ...job("a", { state }), context: { name: "a", kind: "program" as const } });
  assert.deepEqual(offersOf(program("running")), ["stop"]);
  assert.deepEqual(offersOf(program("completed")), ["remove"]);
});
