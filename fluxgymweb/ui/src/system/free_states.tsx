// SPDX-License-Identifier: Apache-2.0
// The dialog that deletes states: which jobs have some, and what that would free.
import { useSignal } from "@preact/signals";
import { Action } from "../common/action.tsx";
import { call, sentence } from "../common/api.ts";
import { useAsked } from "../common/asked.ts";
import { Dialog } from "../common/dialog.tsx";
import { toEach } from "../common/each.ts";
import { size, whole } from "../common/format.ts";
import { jobs } from "../common/live.ts";
import { notify } from "../common/notices.tsx";
import { Prose } from "../common/prose.tsx";
import type { Checkpoint } from "../generated/jobs.ts";
import type { JobUse } from "../generated/machine.ts";
import { text } from "../text.ts";
import { obstacle, surplus } from "./disk.ts";
import { measure } from "./measure.ts";

const says = text.system.freeing;

type Found = { job: string; checkpoints: Checkpoint[]; problem: string };

async function look({ job }: JobUse): Promise<Found> {
  try {
    return { job, checkpoints: (await call("org.fluxgym.Jobs.Checkpoints", { name: job })).checkpoints, problem: "" };
  } catch (refused) {
    return { job, checkpoints: [], problem: sentence(refused) };
  }
}

async function lookAtAll(uses: readonly JobUse[]): Promise<Found[]> {
  const found: Found[] = [];
  for (const use of uses) found.push(await look(use)); // one after the other: each reads a folder
  return found;
}

export function FreeStates({ uses, close }: { uses: readonly JobUse[]; close: () => void }) {
  const { value: found, ask } = useAsked(() => lookAtAll(uses));
  const keep = useSignal(1);
  const left = useSignal<ReadonlySet<string>>(new Set()); // the jobs that the user has unticked
  const rows = (found ?? []).map(({ job, checkpoints, problem }) => {
    const against = obstacle(jobs.value.get(job), keep.value);
    const why = problem || (against === null ? "" : says[against]);
    const goes = why === "" ? surplus(checkpoints, keep.value) : [];
    return { job, why, states: checkpoints.length, goes: goes.length, frees: bytes(goes) };
  });
  const chosen = rows.filter(({ job, goes }) => goes > 0 && !left.value.has(job));
  const total = chosen.reduce((sum, { frees }) => sum + frees, 0);
  const run = async () => {
    let states = 0;
    let freed = 0;
    const { done, refused } = await toEach(chosen.map(({ job }) => job), async (name) => {
      const reply = await call("org.fluxgym.Jobs.PruneStates", { name, keep: keep.value });
      states += reply.removed.length;
      freed += reply.freed;
    });
    if (done.length > 0) notify(says.freed(size(freed), states, done));
    void measure().catch(() => {}); // the next measurement comes anyway
    if (refused.length === 0) return close();
    await ask();
    throw new Error(refused.join(" "));
  };
  const tick = (job: string, on: boolean) => {
    const next = new Set(left.value);
    on ? next.delete(job) : next.add(job);
    left.value = next;
  };
  return (
    <Dialog title={says.title} close={close}>
      <p>{says.says}</p>
      <fieldset class="choice">
        <legend>{says.keep}</legend>
        {[1, 0].map((number) => (
          <label key={number}>
            <input type="radio" name="keep" checked={keep.value === number} onChange={() => { keep.value = number; }} />
            {says.keeps[number]}
          </label>
        ))}
      </fieldset>
      {found === null && <p class="muted">{text.system.loading}</p>}
      {found !== null && rows.length === 0 && <p class="muted">{says.none}</p>}
      {rows.length > 0 && (
        <table class="plain">
          <thead>
            <tr>
              <th>{says.columns.job}</th>
              <th class="number">{says.columns.states}</th>
              <th class="number">{says.columns.frees}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ job, why, states, goes, frees }) => (
              <tr key={job}>
                <th scope="row">
                  <label class="line">
                    <input type="checkbox" aria-label={says.choose(job)} disabled={goes === 0}
                      checked={goes > 0 && !left.value.has(job)} onChange={(event) => tick(job, event.currentTarget.checked)} />
                    <span>{job}</span>
                  </label>
                  {why !== "" && <p class="muted small"><Prose says={why} /></p>}
                </th>
                <td class="number">{whole(states)}</td>
                <td class="number">{goes === 0 ? says.nothing : size(frees)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <form method="dialog" class="buttons">
        <Action words={chosen.length === 0 ? says.freeNothing : says.free(size(total))} tone="strong" run={run}
          disabled={chosen.length === 0} />
        <button>{text.cancel}</button>
      </form>
    </Dialog>
  );
}

function bytes(checkpoints: readonly Checkpoint[]): number {
  return checkpoints.reduce((sum, one) => sum + one.size, 0);
}
