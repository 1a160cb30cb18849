// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event, EventKind, Job } from "../src/generated/jobs.ts";
import { summarise } from "../src/jobs/summary.ts";
import { text } from "../src/text.ts";
import { job } from "./job.ts";

const event = (name: string, kind: EventKind, id = name): Event => ({ job: name, id, at: 5, kind, text: `${name} ${kind}` });
const present = (...jobs: Job[]) => new Map(jobs.map((one) => [one.context.name, one]));

test("a quiet night has counts and needs nobody", () => {
  const summary = summarise(
    [event("a", "started"), event("a", "completed"), event("b", "started"), event("b", "annotated")],
    present(
      job("a", { state: "completed" }),
      job("b", { state: "running", progress: { phase: "training", step: 3, totalSteps: 10, updatedAt: 1 } })));
  assert.deepEqual(summary, { counts: [["completed", 1]], exceptions: [], running: [{ name: "b", done: 30 }], needing: [] });
  assert.equal(text.jobs.away.verdict(summary.needing), "Nothing needs your attention.");
});

test("what went wrong is listed in full, and which jobs need attention", () => {
  const summary = summarise(
    [event("a", "restarted"), event("b", "failed"), event("c", "failed", "an older c"), event("d", "stuck")],
    present(
      job("a", { state: "running" }),
      job("b", { state: "failed" }),
      job("c", { state: "failed" }), // it failed before; the one of the event was removed
      job("d", { state: "running", watchdog: { verdict: "stuck" } })));
  assert.deepEqual(summary.exceptions.map((one) => one.text), ["a restarted", "b failed", "c failed", "d stuck"]);
  assert.deepEqual(summary.counts, [["failed", 2], ["restarted", 1]]);
  assert.equal(text.jobs.away.verdict(summary.needing), "b and d need attention.");
});

test("a job that failed and was resumed needs nobody", () => {
  const summary = summarise([event("a", "failed"), event("a", "resumed")], present(job("a", { state: "running" })));
  assert.deepEqual([summary.exceptions.length, summary.needing], [1, []]);
});

test("only the last exceptions are told", () => {
  const many = Array.from({ length: 50 }, (_, number) => event(`job-${number}`, "failed"));
  const summary = summarise(many, present());
  assert.deepEqual(summary.counts, [["failed", 50]]);
  assert.equal(summary.exceptions.at(-1)?.job, "job-49");
  assert.ok(summary.exceptions.length < 10);
});
