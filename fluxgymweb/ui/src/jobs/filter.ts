// SPDX-License-Identifier: Apache-2.0
// Which jobs the table shows, and in which order. The filter is in the URL: ?q=cat&state=waiting&group=a&tag=b&tag=c.
import { ACTIVE, ENDED, WAITING } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";

export const Class = ["active", "waiting", "ended", "trouble"] as const;
export type Class = (typeof Class)[number];
export type Filter = { words: string[]; classes: Class[]; group: string; tags: string[] };

export function filterOf(parameters: URLSearchParams): Filter {
  return {
    words: (parameters.get("q") ?? "").toLowerCase().split(/\s+/).filter((word) => word !== ""),
    classes: Class.filter((one) => parameters.getAll("state").includes(one)),
    group: parameters.get("group") ?? "",
    tags: parameters.getAll("tag"),
  };
}

export function isEmpty({ words, classes, group, tags }: Filter): boolean {
  return words.length + classes.length + tags.length === 0 && group === "";
}

export function shows(filter: Filter, job: Job): boolean {
  const { group, tags = [], note } = job.annotation ?? {};
  const texts = [job.context.name, job.context.dataset, job.context.triggerWord, group, note, ...tags];
  const whole = texts.map((one) => (one ?? "").toLowerCase()).join("\n");
  return (
    filter.words.every((word) => whole.includes(word)) &&
    (filter.classes.length === 0 || filter.classes.some((one) => isOf(one, job))) &&
    (filter.group === "" || filter.group === group) &&
    filter.tags.every((tag) => tags.includes(tag))
  );
}

export function isOf(one: Class, { runtime }: Job): boolean {
  switch (one) {
    case "active": return ACTIVE.includes(runtime.state);
    case "waiting": return WAITING.includes(runtime.state);
    case "ended": return ENDED.includes(runtime.state);
    case "trouble": return needsSomeone({ runtime });
  }
}

// Whether somebody should look at it: it failed, or may be about to.
export function needsSomeone({ runtime }: Pick<Job, "runtime">): boolean {
  const verdict = runtime.watchdog?.verdict;
  return (
    ["failed", "lost", "damaged"].includes(runtime.state) ||
    (runtime.state === "running" && (verdict === "suspicious" || verdict === "stuck"))
  );
}

// Running jobs first, then those that wait, in the order of the queue, then the others, the newest first.
export function inOrder(jobs: Iterable<Job>): Job[] {
  const rank = (job: Job) => (isOf("active", job) || job.runtime.state === "lost" ? 0 : isOf("waiting", job) ? 1 : 2);
  return [...jobs].sort((a, b) =>
    rank(a) - rank(b) ||
    (rank(a) === 1 ? (a.runtime.queuePlace ?? Infinity) - (b.runtime.queuePlace ?? Infinity) || 0 : 0) ||
    newest(b) - newest(a) ||
    (a.context.name < b.context.name ? -1 : 1));
}

function newest({ runtime }: Job): number {
  return runtime.attempt?.endedAt ?? runtime.attempt?.startedAt ?? runtime.submittedAt;
}

// Values that some jobs have, with how many, for the choices of the filter.
export function counted(values: Iterable<string>): [string, number][] {
  const found = new Map<string, number>();
  for (const value of values) found.set(value, (found.get(value) ?? 0) + 1);
  return [...found].sort(([a], [b]) => a.localeCompare(b));
}
