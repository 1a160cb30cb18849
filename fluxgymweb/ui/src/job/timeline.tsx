// SPDX-License-Identifier: Apache-2.0
// The card with what happened to the job, newest first.
import { useSignal } from "@preact/signals";
import { all } from "../common/api.ts";
import { now } from "../common/clock.ts";
import { moment } from "../common/format.ts";
import { Prose } from "../common/prose.tsx";
import type { Job } from "../generated/jobs.ts";
import { timeline as says } from "../text/job.ts";
import { entriesOf } from "./entries.ts";
import { stageOf, useFetched } from "./fetched.ts";
import { useFiles } from "./job-files.ts";

const SHOWN = 12;

export function Timeline({ job }: { job: Job }) {
  const { name } = job.context;
  const isWhole = useSignal(false);
  const files = useFiles(job);
  const history = useFetched(stageOf(job), async () =>
    (await all("org.fluxgym.Jobs.Events", { name })).flatMap(({ event }) => event ?? []));
  const entries = entriesOf(history.value ?? [], files.value ?? []);
  const shown = isWhole.value ? entries : entries.filter(({ isDetail }) => !isDetail).slice(0, SHOWN);
  return (
    <section class="panel">
      <h2>{says.title}</h2>
      {history.problem !== "" && <p class="refused">{history.problem}</p>}
      {history.value !== null && entries.length === 0 && <p class="muted">{says.nothing}</p>}
      <ol class="timeline">
        {shown.map(({ at, text, tone }, number) => (
          <li key={`${at} ${number}`} class={tone}>
            <time dateTime={new Date(at * 1000).toISOString()}>{moment(at, now.value)}</time>
            <span><Prose says={text} /></span>
          </li>
        ))}
      </ol>
      {entries.length > shown.length && (
        <button class="quiet" onClick={() => { isWhole.value = true; }}>{says.whole}</button>
      )}
    </section>
  );
}
