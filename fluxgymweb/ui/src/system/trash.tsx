// SPDX-License-Identifier: Apache-2.0
// The removed jobs: each can be restored, or deleted for good.
import { Action } from "../common/action.tsx";
import { all, call } from "../common/api.ts";
import { useAsked } from "../common/asked.ts";
import { now } from "../common/clock.ts";
import { confirm } from "../common/dialog.tsx";
import { restore, toEach } from "../common/each.ts";
import { moment, size } from "../common/format.ts";
import { jobs } from "../common/live.ts";
import { complain, notify } from "../common/notices.tsx";
import { Prose } from "../common/prose.tsx";
import type { RemovedJob } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { measure } from "./measure.ts";

const says = text.system.trash;

export function Trash() {
  // A job that is removed or restored elsewhere changes which ones there are.
  const names = [...jobs.value.keys()].sort().join("/");
  const { value, problem, ask } = useAsked(() => all("org.fluxgym.Jobs.Removed", {}), { key: names });
  const removed = (value ?? []).flatMap(({ job }) => job ?? []);
  const total = removed.reduce((sum, one) => sum + one.size, 0);
  const destroy = async (doomed: readonly RemovedJob[]) => {
    const { done, refused } = await toEach(doomed.map(({ id }) => id),
      (name) => call("org.fluxgym.Jobs.Remove", { name, now: true }));
    if (refused.length > 0) complain(refused.join(" "));
    if (done.length > 0) notify(says.deleted(doomed.filter(({ id }) => done.includes(id)).map(({ name }) => name)));
    void measure().catch(() => {}); // the next measurement comes anyway
    await ask();
  };
  const back = async (id: string) => {
    notify(text.jobs.restored([await restore(id)]));
    await ask();
  };
  const askToEmpty = () => confirm({
    title: says.emptyTitle(removed.length), says: says.emptySays, yes: says.delete, run: () => void destroy(removed),
  });
  const askToDelete = (job: RemovedJob) => confirm({
    title: `${says.deleteIt(job.name)}?`, says: says.deleteSays, yes: says.delete, run: () => void destroy([job]),
  });
  return (
    <section class="panel stack" id="trash">
      <h2>{says.title}</h2>
      {problem !== "" && <p class="refused"><Prose says={problem} /></p>}
      {value !== null && removed.length === 0 && <p class="muted">{says.empty}</p>}
      {removed.length > 0 && (
        <>
          <p class="muted">{says.says}</p>
          <ul class="rows">
            {removed.map((job) => (
              <li key={job.id}>
                <p><b>{job.name}</b> <span class="muted">{size(job.size)}</span></p>
                <p class="muted small">{says.when(moment(job.removedAt, now.value), moment(job.deletedAt, now.value))}</p>
                <p class="tools">
                  <Action words={says.restore} label={says.restoreIt(job.name)} run={() => back(job.id)} />
                  <button class="quiet" aria-label={says.deleteIt(job.name)} onClick={() => askToDelete(job)}>
                    {says.delete}
                  </button>
                </p>
              </li>
            ))}
          </ul>
          <p><button onClick={askToEmpty}>{says.emptyIt(size(total))}</button></p>
        </>
      )}
    </section>
  );
}
