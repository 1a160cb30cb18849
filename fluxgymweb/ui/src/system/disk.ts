// SPDX-License-Identifier: Apache-2.0
// What fills a disk, and what deleting states would free.
import type { Checkpoint, Job } from "../generated/jobs.ts";
import type { Disk, DiskUseKind } from "../generated/machine.ts";
import { ACTIVE, WAITING } from "../common/states.ts";

export type Part = { what: DiskUseKind | "foreign" | "free"; size: number };

// FluxGym's files by kind, the largest first, then all other files, then what is free.
export function partsOf({ total, free, uses }: Disk): Part[] {
  const ours = uses.filter(({ size }) => size > 0).map(({ what, size }): Part => ({ what, size }));
  const taken = ours.reduce((sum, { size }) => sum + size, 0);
  ours.sort((a, b) => b.size - a.size);
  return [...ours, { what: "foreign", size: Math.max(0, total - free - taken) }, { what: "free", size: free }];
}

// Which checkpoints PruneStates deletes: the complete ones of known progress, but for the newest `keep`.
export function surplus(checkpoints: readonly Checkpoint[], keep: number): Checkpoint[] {
  const counted = checkpoints.filter(({ complete, epoch, step }) => complete && (epoch != null || step != null));
  counted.sort((a, b) =>
    (b.epoch ?? 0) - (a.epoch ?? 0) || (b.step ?? 0) - (a.step ?? 0) || (a.name < b.name ? 1 : -1));
  return counted.slice(keep);
}

// Why no states of a job can be deleted now. A job of which the page does not know has ended long ago.
export function obstacle(job: Job | undefined, keep: number): "running" | "waiting" | "damaged" | null {
  if (job === undefined) return null;
  const { state } = job.runtime;
  if (ACTIVE.includes(state) || state === "lost") return "running";
  if (state === "damaged") return "damaged";
  return keep === 0 && WAITING.includes(state) ? "waiting" : null;
}
