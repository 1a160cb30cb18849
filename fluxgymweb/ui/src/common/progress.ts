// SPDX-License-Identifier: Apache-2.0
// How far a job is, in the forms that several screens show.
import type { Job } from "../generated/jobs.ts";
import { percent } from "./format.ts";

export function percentDone({ runtime }: Job): number | null {
  if (runtime.state === "completed") return 100;
  return percent(runtime.progress?.step, runtime.progress?.totalSteps);
}

// The seconds that are left at `now`, as far as the trainer has estimated them.
export function secondsLeft({ runtime }: Job, now: number): number | null {
  const progress = runtime.progress;
  if (runtime.state !== "running" || progress?.remainingSeconds == null) return null;
  return Math.max(0, progress.remainingSeconds - Math.max(0, now - progress.updatedAt));
}
