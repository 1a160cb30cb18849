// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventKind, FileKind } from "../src/generated/jobs.ts";
import { entriesOf } from "../src/job/entries.ts";
import { fieldsOf } from "../src/job/fields.ts";

const event = (at: number, kind: EventKind, text: string) => ({ job: "a", id: "1", at, kind, text });
const file = (createdAt: number, kind: FileKind, place: { epoch?: number; step?: number } = {}) =>
  ({ name: `${createdAt}`, kind, path: "", size: 1, createdAt, ...place });

test("saves and samples are woven into the events, newest first, the files of one moment together", () => {
  const events = [event(1, "submitted", "It was submitted."), event(1, "other", "Detail."), event(9, "failed", "It failed.")];
  const files = [
    file(5, "lora", { epoch: 2, step: 20 }), file(6, "state", { epoch: 2, step: 20 }),
    file(7, "sample", { epoch: 2, step: 20 }), file(8, "sample", { epoch: 2, step: 20 }),
    file(3, "lora", { step: 10 }), file(8, "sample"), file(9, "log"),
  ];
  assert.deepEqual(entriesOf(events, files).map(({ at, text, tone, isDetail }) => [at, text, tone, isDetail]), [
    [9, "It failed.", "bad", false],
    [8, "2 samples · epoch 2, step 20", "calm", false],
    [6, "LoRA and checkpoint saved · epoch 2, step 20", "calm", false],
    [3, "LoRA saved · step 10", "calm", false],
    [1, "Detail.", "busy", true],
    [1, "It was submitted.", "busy", false],
  ]);
});

test("settings have their names of a spec file, and a switch is on", () => {
  const context = {
    name: "a", learningRate: 0.5, resolution: null, model: { clipL: "/c" }, samplePrompts: ["x", "y"], after: [],
    trainerOptions: { network_alpha: ["4"], minSnr: [] }, parts: [{ dataset: "d", repeats: 2 }],
  };
  assert.deepEqual(fieldsOf(context), [
    ["name", "a"], ["learning_rate", "0.5"], ["model.clip_l", "/c"], ["sample_prompts", "x\ny"],
    ["trainer_options.network_alpha", "4"], ["trainer_options.minSnr", "true"],
    ["parts.1.dataset", "d"], ["parts.1.repeats", "2"],
  ]);
});
