// SPDX-License-Identifier: Apache-2.0
// The samples, prompts down and epochs across. A click opens the viewer; a star marks the best LoRA.
import { useLayoutEffect, useRef } from "preact/hooks";
import { Action } from "../../common/action.tsx";
import { call } from "../../common/api.ts";
import { notify } from "../../common/notices.tsx";
import { hrefWith } from "../../common/route.ts";
import { hasEnded } from "../../common/states.ts";
import type { Job, JobFile } from "../../generated/jobs.ts";
import { text } from "../../text.ts";
import { thumbnailOf, useSamples } from "./drawn.ts";
import { type Grid, gridOf, loraOf, type Moment } from "./grid.ts";
import { momentWords } from "./moment.ts";
import { Viewer } from "./viewer.tsx";

const says = text.job.samples;

export function Samples({ job }: { job: Job }) {
  const { value, problem } = useSamples(job);
  const { name } = job.context;
  const known = value?.job === name ? value : null;
  const grid = gridOf(known?.samples ?? []);
  return (
    <section class="panel">
      <div class="controls">
        <h2>{says.title}</h2>
        {job.runtime.canSample === true && <Action words={says.now} run={() => sampleNow(name)} />}
      </div>
      {problem !== "" && <p class="refused">{problem}</p>}
      {known === null && problem === "" && <p class="muted">{text.jobs.loading}</p>}
      {known !== null && grid.moments.length === 0 && <p class="muted">{emptyOf(job)}</p>}
      {known !== null && grid.moments.length > 0 && (
        <>
          <Table key={name} job={job} grid={grid} files={known.files} />
          <Viewer job={name} grid={grid} mark={(moment) => {
            const lora = loraOf(moment, known.files);
            return lora === undefined ? null : () => markBest(job, lora);
          }} />
        </>
      )}
    </section>
  );
}

async function sampleNow(name: string): Promise<void> {
  await call("org.fluxgym.Jobs.SampleNow", { name });
  notify(says.asked);
}

function emptyOf(job: Job): string {
  if ((job.context.samplePrompts ?? []).length === 0) return says.noPrompts;
  return hasEnded(job) ? says.none : says.soon;
}

type TableProps = { job: Job; grid: Grid; files: readonly JobFile[] };

function Table({ job, grid: { rows, moments }, files }: TableProps) {
  const place = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  // The newest column comes into view unless one has scrolled away from the end.
  useLayoutEffect(() => {
    if (place.current !== null && atEnd.current) place.current.scrollLeft = place.current.scrollWidth;
  }, [moments.length]);
  return (
    <div class="grid" ref={place} tabIndex={0} role="group" aria-label={says.title} onScroll={({ currentTarget: at }) => {
      atEnd.current = at.scrollLeft + at.clientWidth > at.scrollWidth - 40;
    }}>
      <table>
        <thead>
          <tr><td />{moments.map((moment) => <th key={moment.id} scope="col"><Head job={job} moment={moment} lora={loraOf(moment, files)} /></th>)}</tr>
        </thead>
        <tbody>
          {rows.map(({ number, prompt }) => (
            <tr key={number}>
              <th scope="row"><span title={prompt ?? undefined}>{prompt ?? says.prompt(number + 1)}</span></th>
              {moments.map((moment) => (
                <td key={moment.id}>
                  <Cell job={job.context.name} moment={moment} number={number} prompt={prompt}
                    href={hrefWith({ prompt: [String(number)], at: [moment.id], with: [] })} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

type HeadProps = { job: Job; moment: Moment; lora: JobFile | undefined };

function Head({ job, moment, lora }: HeadProps) {
  const words = momentWords(moment);
  if (lora === undefined) return <>{words}</>;
  const best = job.annotation?.best === lora.name;
  const label = best ? says.isBest(words) : says.markBest(words);
  return <>{words} <Action words={best ? "★" : "☆"} label={label} tone="quiet" run={() => markBest(job, lora)} /></>;
}

// Marks a LoRA as the best of its job, or takes the mark away.
async function markBest({ context: { name }, annotation }: Job, lora: JobFile): Promise<void> {
  const best = annotation?.best === lora.name ? "" : lora.name;
  await call("org.fluxgym.Jobs.Annotate", { name, best });
  notify(best === "" ? says.unmarked : says.marked(best));
}

type CellProps = { job: string; moment: Moment; number: number; prompt: string | null; href: string };

export function Cell({ job, moment, number, prompt, href }: CellProps) {
  const sample = moment.samples.get(number);
  if (sample === undefined) return null;
  return (
    <a href={href}>
      <img src={thumbnailOf(job, sample.file)} loading="lazy" width="128" height="128"
        alt={says.pictureOf(prompt ?? says.prompt(number + 1), momentWords(moment))} />
    </a>
  );
}
