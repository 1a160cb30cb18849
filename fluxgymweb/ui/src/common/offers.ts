// SPDX-License-Identifier: Apache-2.0
// What can be done to a job in its state. The daemon decides; this is what every screen offers.
import type { Job } from "../generated/jobs.ts";

export const Offer = [
  "save", "stop", "stopLater", "stopNow", "resume", "assumeGone", "hold", "release", "move", "more", "remove",
] as const;
export type Offer = (typeof Offer)[number];

// The first one is what its owner most likely wants.
export function offersOf({ context, runtime }: Job): Offer[] {
  const { state, waitingFor, canSave } = runtime;
  const trains = context.kind !== "program";
  const saves: Offer[] = canSave === true ? ["save"] : [];
  switch (state) {
    case "queued":
    case "interrupted":
      return [waitingFor === "held" ? "release" : "hold", "move", "stop"];
    case "starting":
      return ["stop"];
    case "running":
      return [...saves, ...(trains ? ["stopLater" as const] : []), "stop"];
    case "stopping":
      // A stop that waits for a checkpoint can be asked for at once.
      return trains ? [...saves, "stopNow"] : [];
    case "stopped":
    case "failed":
      return ["resume", "remove"];
    case "completed":
      return trains ? ["more", "remove"] : ["remove"];
    case "lost":
      return ["stop", "assumeGone"];
    default:
      return []; // of a damaged job, only its files can be used
  }
}
