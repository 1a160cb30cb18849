// SPDX-License-Identifier: Apache-2.0
// Does something to several jobs, and takes one back from the trash.
import { call, sentence } from "./api.ts";

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

// `id`: which one of the trash. Returns its name.
export async function restore(id: string): Promise<string> {
  return (await call("org.fluxgym.Jobs.Restore", { name: id })).job.context.name;
}
