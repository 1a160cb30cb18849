// SPDX-License-Identifier: Apache-2.0
// What can be done to a job in the table.
import { hasEnded, WAITING } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";

export const Verb = ["stop", "hold", "release", "move", "remove"] as const;
export type Verb = (typeof Verb)[number];

export function applies(verb: Verb, job: Job): boolean {
  const { state, waitingFor } = job.runtime;
  const waits = WAITING.includes(state);
  switch (verb) {
    case "stop": return waits || state === "starting" || state === "running";
    case "hold": return waits && waitingFor !== "held";
    case "release": return waits && waitingFor === "held";
    case "move": return waits;
    case "remove": return hasEnded(job);
  }
}
