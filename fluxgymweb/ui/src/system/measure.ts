// SPDX-License-Identifier: Apache-2.0
// Has the disks measured at once. The result comes with the state of the machine, which the page follows anyway.
import { stream } from "../common/api.ts";

export async function measure(): Promise<void> {
  for await (const _ of stream("org.fluxgym.Machine.Watch", { measure: true })) return;
}
