// SPDX-License-Identifier: Apache-2.0
// The card with the newest samples, each a link to the viewer.
import { at } from "../../common/root.ts";
import type { Job } from "../../generated/jobs.ts";
import { text } from "../../text.ts";
import { useSamples } from "./drawn.ts";
import { gridOf } from "./grid.ts";
import { momentWords } from "./moment.ts";
import { Cell } from "./samples.tsx";

export function Latest({ job }: { job: Job }) {
  const { name } = job.context;
  const { value } = useSamples(job);
  const { rows, moments } = gridOf(value?.job === name ? value.samples : []);
  const last = moments.at(-1);
  if (last === undefined) return null;
  const section = at(`/jobs/${encodeURIComponent(name)}/samples`);
  return (
    <section class="panel">
      <h2><a href={section}>{text.job.samples.latest(momentWords(last))}</a></h2>
      <div class="grid latest">
        {rows.map(({ number, prompt }) => (
          <Cell key={number} job={name} moment={last} number={number} prompt={prompt}
            href={`${section}?${new URLSearchParams({ prompt: String(number), at: last.id })}`} />
        ))}
      </div>
    </section>
  );
}
