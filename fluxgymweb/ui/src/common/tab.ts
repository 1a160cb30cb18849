// SPDX-License-Identifier: Apache-2.0
// What the browser's tab says: how far the job is, or how it ended.
import type { Progress, State } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { duration, percent } from "./format.ts";
import { ACTIVE } from "./states.ts";

export type Shown = { name: string; state: State; progress?: Progress | null };
export type End = "completed" | "failed" | "stopped";
export type Badge = { done: number | null; end: End | null };
// Which jobs this page has seen running, and the one of them that ended last.
export type Memory = { active: readonly string[]; ended: { name: string; end: End } | null };

export const NOTHING: Memory = { active: [], ended: null };

export function remember(before: Memory, jobs: readonly Shown[]): Memory {
  const states = new Map(jobs.map((job) => [job.name, job.state]));
  let ended = before.ended;
  for (const name of before.active) {
    const end = endOf({ state: states.get(name) });
    if (end !== null) ended = { name, end };
  }
  return { active: jobs.filter((job) => ACTIVE.includes(job.state)).map((job) => job.name), ended };
}

// The job that is viewed, or else the one that is furthest, or else the one that ended last.
export function tabOf(
  { ended }: Memory, jobs: readonly Shown[], now: number, viewed: string | null = null,
): { title: string; badge: Badge } {
  const done = (job: Shown) => percent(job.progress?.step, job.progress?.totalSteps);
  const seen = jobs.find((job) => job.name === viewed);
  const end = endOf(seen);
  if (viewed !== null && (seen === undefined || !ACTIVE.includes(seen.state))) {
    const title = [end === null ? "" : `${text.ends[end]} `, viewed, " · ", text.product].join("");
    return { title, badge: { done: null, end } };
  }
  const active = jobs.filter((job) => ACTIVE.includes(job.state));
  const [first] = seen === undefined ? active.sort((a, b) => (done(b) ?? -1) - (done(a) ?? -1)) : [seen];
  if (first !== undefined) {
    const { remainingSeconds, updatedAt } = first.progress ?? {};
    const left = remainingSeconds == null || updatedAt == null ? null : remainingSeconds - Math.max(0, now - updatedAt);
    const share = done(first);
    const title = [
      ...(share === null ? [] : [text.units.percent(share)]),
      first.name,
      ...(left === null ? [] : [duration(left)]),
    ].join(" · ");
    return { title, badge: { done: share ?? 0, end: null } };
  }
  if (ended !== null) return { title: `${text.ends[ended.end]} ${ended.name}`, badge: { done: null, end: ended.end } };
  return { title: text.product, badge: { done: null, end: null } };
}

function endOf(job?: { state?: State | undefined }): End | null {
  return job?.state === "completed" || job?.state === "failed" || job?.state === "stopped" ? job.state : null;
}
