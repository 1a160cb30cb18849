// SPDX-License-Identifier: Apache-2.0
// How a job that has ended goes on: the LoRA to use, the next memory tier, what is kept, the name of its successor.
import { ACTIVE, trains, WAITING } from "../common/states.ts";
import type { Context, Job, JobFile } from "../generated/jobs.ts";

export const TIERS = ["20g", "16g", "12g"] as const;
export type Tier = (typeof TIERS)[number];

// Whether the job is a training that needs settings with which it takes less memory of the GPU.
export function ranOutOfMemory(job: Job): boolean {
  const { state, failure } = job.runtime;
  return state === "failed" && failure?.kind === "gpu_out_of_memory" && trains(job);
}

// The preset with which a training that ran out of memory needs less; null if there is none.
export function lowerTier({ context }: Job): Tier | null {
  const present = tierOf(context);
  return present === null ? TIERS[0] : (TIERS[TIERS.indexOf(present) + 1] ?? null);
}

function tierOf({ trainerOptions }: Context): Tier | null {
  const has = (name: string) => trainerOptions?.[name] != null && trainerOptions[name]?.[0] !== "false";
  if (has("blocks_to_swap")) return "12g";
  if (trainerOptions?.["optimizer_type"]?.[0]?.toLowerCase() === "adafactor") return "16g";
  return has("fp8_base") && has("gradient_checkpointing") ? "20g" : null;
}

// The LoRA to use: the one that was marked, or else the last one.
export function bestOf(job: Job, files: readonly JobFile[]): JobFile | null {
  const loras = files.filter(({ kind }) => kind === "lora");
  const marked = loras.find(({ name }) => name === job.annotation?.best);
  const result = loras.find(({ path }) => path === job.runtime.result);
  return marked ?? result ?? loras[0] ?? null;
}

export function mayPrune({ runtime }: Job): boolean {
  return !ACTIVE.includes(runtime.state) && runtime.state !== "lost" && runtime.state !== "damaged";
}

// How many states stay when space is freed: a job that may be resumed needs its newest one.
export function keptStates({ runtime }: Job): number {
  return WAITING.includes(runtime.state) || runtime.state === "stopped" || runtime.state === "failed" ? 1 : 0;
}

// A free name for a job that continues this one: my-cat-20 for 20 epochs.
export function nameFor(name: string, epochs: number, taken: (name: string) => boolean): string {
  const start = `${name.replace(/-\d+$/, "").slice(0, 56)}-${epochs}`;
  for (let number = 1; ; number += 1) {
    const tried = number === 1 ? start : `${start}-${number}`;
    if (!taken(tried)) return tried;
  }
}
