// SPDX-License-Identifier: Apache-2.0
// The job that the screen shows. The live stream tells of the newest jobs; an older one is asked for once.
import { computed, effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, sentence } from "../common/api.ts";
import { complete, jobs } from "../common/live.ts";
import type { Job } from "../generated/jobs.ts";

const wanted = signal("");
const asked = signal<{ name: string; job: Job | null; refusal: string | null } | null>(null);

export const found = computed<{ job: Job | null; refusal: string | null }>(() => {
  const live = jobs.value.get(wanted.value);
  if (live !== undefined) return { job: live, refusal: null };
  return asked.value?.name === wanted.value ? asked.value : { job: null, refusal: null };
});

export function useJob(name: string): void {
  wanted.value = name;
  useEffect(() => () => { asked.value = null; }, [name]);
}

effect(() => {
  const name = wanted.value;
  if (name !== "" && complete.value && !jobs.value.has(name) && asked.peek()?.name !== name) void ask(name);
});

async function ask(name: string): Promise<void> {
  asked.value = { name, job: null, refusal: null };
  try {
    const { job } = await call("org.fluxgym.Jobs.Describe", { name });
    if (wanted.value === name) asked.value = { name, job, refusal: null };
  } catch (problem) {
    if (wanted.value === name) asked.value = { name, job: null, refusal: sentence(problem) };
  }
}
