// SPDX-License-Identifier: Apache-2.0
// A moment of the training in words.
import { text } from "../../text.ts";
import type { Moment } from "./grid.ts";

const says = text.job.samples;

export function momentWords({ epoch, step, id }: Moment): string {
  if (step === 0) return says.start;
  return epoch !== null ? says.epoch(epoch) : says.step(step === null ? id.slice(1) : String(step));
}
