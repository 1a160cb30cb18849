// SPDX-License-Identifier: Apache-2.0
// What is done to several jobs at once.
import { call } from "../common/api.ts";
import { type Outcome, toEach } from "../common/each.ts";

export const stop = (name: string) => call("org.fluxgym.Jobs.Stop", { name });
export const hold = (name: string) => call("org.fluxgym.Jobs.Hold", { name });
export const release = (name: string) => call("org.fluxgym.Jobs.Release", { name });

// Where the removed jobs of a call are in the trash: another job may have the name by the time of an undo.
export function remove(trash: string[]) {
  return async (name: string) => {
    const { removed } = await call("org.fluxgym.Jobs.Remove", { name });
    if (removed != null) trash.push(removed);
  };
}

// Moves jobs right before another, or to the front of the queue, in their present order.
export function move(names: readonly string[], before: string | null): Promise<Outcome> {
  const inTurn = before === null ? names.toReversed() : names;
  return toEach(inTurn, (name) => call("org.fluxgym.Jobs.Move", { name, before }));
}
