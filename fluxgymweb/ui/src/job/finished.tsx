// SPDX-License-Identifier: Apache-2.0
// The card of a finished training: its best LoRA, how to use it, and how to train it again.
import { size } from "../common/format.ts";
import { Prose } from "../common/prose.tsx";
import type { Job } from "../generated/jobs.ts";
import { finished as says } from "../text/job.ts";
import { TrainAgain } from "./actions.tsx";
import { useFiles } from "./job-files.ts";
import { fileOf } from "./links.ts";
import { bestOf } from "./ended.ts";

export function Finished({ job }: { job: Job }) {
  const { value } = useFiles(job);
  const best = bestOf(job, value ?? []);
  const { name, triggerWord } = job.context;
  if (job.runtime.state !== "completed" || best === null) return null;
  const marked = job.annotation?.best === best.name;
  return (
    <section class="panel finished">
      <h2>{says.title}</h2>
      <p>
        <a class="button strong" href={fileOf(name, best.name)} download>{says.download(size(best.size))}</a>{" "}
        <code>{best.name}</code> <span class="muted">{marked ? says.best : says.last}</span>
      </p>
      <details>
        <summary>{says.comfy}</summary>
        <ol>
          {says.steps.map((step) => <li key={step}><Prose says={step} /></li>)}
          <li><Prose says={triggerWord == null || triggerWord === "" ? says.noTrigger : says.trigger(triggerWord)} /></li>
        </ol>
      </details>
      <TrainAgain job={job} />
    </section>
  );
}
