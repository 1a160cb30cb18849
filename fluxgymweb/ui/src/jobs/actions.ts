// SPDX-License-Identifier: Apache-2.0
// What is done to several jobs at once.
import { call, sentence } from "../common/api.ts";

export type Outcome = { done: string[]; refused: string[] };

// Does something to one job after the other, since each may be refused for a reason of its own.
export async function toEach(names: readonly string[], act: (name: string) => Promise<unknown>): Promise<Outcome> {
  const outcome: Outcome = { done: [], refused: [] };
  for (const name of names) {
    try {
      await act(name);
      outcome.done.push(name);
    } catch (problem) {
      outcome.refused.push(sentence(problem));
    }
  }
  return outcome;
}

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

export const restore = async (id: string) => (await call("org.fluxgym.Jobs.Restore", { name: id })).job.context.name;

// Moves jobs right before another, or to the front of the queue, in their present order.
export function move(names: readonly string[], before: string | null): Promise<Outcome> {
  const inTurn = before === null ? names.toReversed() : names;
  return toEach(inTurn, (name) => call("org.fluxgym.Jobs.Move", { name, before }));
}
