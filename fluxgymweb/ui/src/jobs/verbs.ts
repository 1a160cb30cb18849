// SPDX-License-Identifier: Apache-2.0
// What can be done to several jobs of the table at once.
import { type Offer, offersOf } from "../common/offers.ts";
import type { Job } from "../generated/jobs.ts";

export const Verb = ["stop", "hold", "release", "move", "remove"] as const satisfies readonly Offer[];
export type Verb = (typeof Verb)[number];

export function applies(verb: Verb, job: Job): boolean {
  return offersOf(job).includes(verb);
}
