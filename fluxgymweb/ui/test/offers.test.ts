// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { State } from "../src/generated/jobs.ts";
import { bestOf, lowerTier, nameFor, type Offer, offersOf, ranOutOfMemory } from "../src/job/offers.ts";
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

for (const [options, tier] of [
  [undefined, "20g"],
  [{ fp8_base: [], gradient_checkpointing: [], optimizer_type: ["adamw8bit"] }, "16g"],
  [{ fp8_base: ["false"], gradient_checkpointing: [] }, "20g"],
  [{ optimizer_type: ["AdaFactor"] }, "12g"],
  [{ optimizer_type: ["adafactor"], blocks_to_swap: ["18"] }, null],
] as const) {
  test(`after ${JSON.stringify(options)} ran out of memory comes ${tier}`, () => {
    const failure = { kind: "gpu_out_of_memory" as const, advice: "" };
    const failed = job("a", { state: "failed", failure });
    const trainerOptions = options as Record<string, string[]> | undefined;
    assert.equal(lowerTier({ ...failed, context: { name: "a", ...(trainerOptions && { trainerOptions }) } }), tier);
    assert.ok(ranOutOfMemory(failed));
    assert.ok(!ranOutOfMemory(job("a", { state: "failed", failure: { ...failure, kind: "crashed" } })));
    assert.ok(!ranOutOfMemory({ ...failed, context: { name: "a", kind: "program" } }));
  });
}

test("the best LoRA is the marked one, or else the finished one, or else the newest", () => {
  const file = (name: string, kind: "lora" | "state" = "lora") =>
    ({ name, kind, path: `/h/${name}`, size: 1, createdAt: 1 });
  const files = [file("s", "state"), file("new"), file("done"), file("marked")];
  const best = (best?: string, result?: string) =>
    bestOf(job("a", { state: "completed", ...(result && { result }) }, { ...(best && { best }) }), files)?.name;
  assert.equal(best("marked", "/h/done"), "marked");
  assert.equal(best("gone", "/h/done"), "done");
  assert.equal(best(), "new");
  assert.equal(bestOf(job("a"), []), null);
});

test("the name of a job that continues another has its epochs, and is free", () => {
  assert.equal(nameFor("my-cat", 20, () => false), "my-cat-20");
  assert.equal(nameFor("my-cat-20", 24, () => false), "my-cat-24");
  assert.equal(nameFor("my-cat", 20, (name) => name === "my-cat-20"), "my-cat-20-2");
});
