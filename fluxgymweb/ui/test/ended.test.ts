// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { State } from "../src/generated/jobs.ts";
import { bestOf, keptStates, lowerTier, mayPrune, nameFor, ranOutOfMemory } from "../src/job/ended.ts";
import { job } from "./job.ts";

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

test("a job keeps a checkpoint for as long as it may be resumed", () => {
  const kept = State.filter((state) => keptStates(job("a", { state })) === 1);
  assert.deepEqual(kept, ["queued", "stopped", "failed", "interrupted"]);
});

test("checkpoints are not deleted while they may be in use", () => {
  const may = State.filter((state) => mayPrune(job("a", { state })));
  assert.deepEqual(may, ["queued", "stopped", "completed", "failed", "interrupted"]);
});
