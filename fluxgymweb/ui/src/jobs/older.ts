// SPDX-License-Identifier: Apache-2.0
// The server tells live only of the newest jobs that have ended. The older ones are fetched page by page.
import { computed, effect, signal } from "@preact/signals";
import { all } from "../common/api.ts";
import { complete, jobs } from "../common/live.ts";
import { hasEnded } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";

const PAGE = 200;

const fetched = signal<ReadonlyMap<string, Job>>(new Map());
// The job before which the next page begins; null if there is none.
const next = signal<string | null>(null);
let looked = false;

export const known = computed<ReadonlyMap<string, Job>>(() => new Map([...fetched.value, ...jobs.value]));
export const areMore = computed(() => next.value !== null);

effect(() => {
  if (!complete.value || looked) return;
  looked = true;
  void look();
});

// Looks whether there are older ones than those that the server tells of.
async function look(): Promise<void> {
  const ended = [...jobs.value.values()].filter(hasEnded);
  const oldest = ended.sort((a, b) => a.runtime.submittedAt - b.runtime.submittedAt)[0]?.context.name;
  if (oldest === undefined) return;
  const [first] = await list(oldest, 1).catch(() => []);
  next.value = first === undefined ? null : oldest;
}

export async function fetchOlder(): Promise<void> {
  if (next.value === null) return;
  const page = await list(next.value, PAGE);
  fetched.value = new Map([...fetched.value, ...page.map((job) => [job.context.name, job] as const)]);
  next.value = page.length < PAGE ? null : (page.at(-1)?.context.name ?? null);
}

// The server does not tell of changes of these.
export function forget(names: readonly string[]): void {
  fetched.value = new Map([...fetched.value].filter(([name]) => !names.includes(name)));
}

async function list(before: string, limit: number): Promise<Job[]> {
  return (await all("org.fluxgym.Jobs.List", { before, limit })).flatMap(({ job }) => job ?? []);
}
