// SPDX-License-Identifier: Apache-2.0
// The table of jobs. On a narrow screen each row is a card.
import { useSignal } from "@preact/signals";
import { Bar } from "../common/bar.tsx";
import { now } from "../common/clock.ts";
import { age, duration, moment, speed, whole } from "../common/format.ts";
import { percentDone, secondsLeft } from "../common/progress.ts";
import { Prose } from "../common/prose.tsx";
import { at } from "../common/root.ts";
import { hrefWith, parameters } from "../common/route.ts";
import { Pill } from "../common/shape.tsx";
import { ACTIVE, lookOf, WAITING } from "../common/states.ts";
import type { Annotation, Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { isTicked, tick } from "./chosen.ts";

const says = text.jobs;
const PAGE = 200; // rows that are drawn at once

export function Table({ jobs }: { jobs: readonly Job[] }) {
  const drawn = useSignal(PAGE);
  const names = jobs.map((job) => job.context.name);
  const all = names.length > 0 && names.every(isTicked);
  return (
    <>
      <table class="jobs">
        <thead>
          <tr>
            <th class="tick">
              <Tick on={all} words={says.chooseAll} set={(on) => tick(names, on)} />
            </th>
            <th>{says.columns.name}</th>
            <th>{says.columns.state}</th>
            <th>{says.columns.progress}</th>
            <th>{says.columns.time}</th>
          </tr>
        </thead>
        <tbody>{jobs.slice(0, drawn.value).map((job) => <Row key={job.runtime.id} job={job} />)}</tbody>
      </table>
      {jobs.length > drawn.value && (
        <button onClick={() => { drawn.value += PAGE; }}>{says.more(jobs.length - drawn.value)}</button>
      )}
    </>
  );
}

function Row({ job }: { job: Job }) {
  const { context: { name }, annotation } = job;
  const why = whyOf(job);
  return (
    <tr class={isTicked(name) ? "ticked" : undefined}>
      <td class="tick">
        <Tick on={isTicked(name)} words={says.choose(name)} set={(on) => tick([name], on)} />
      </td>
      <th scope="row"><a href={at(`/jobs/${encodeURIComponent(name)}`)}>{name}</a>
        {annotation != null && <Tags of={annotation} />}
      </th>
      <td><Pill look={lookOf(job)} />{why !== "" && <p class="why"><Prose says={why} /></p>}</td>
      <td class="how-far"><HowFar job={job} /></td>
      <td class="time"><Time job={job} /></td>
    </tr>
  );
}

function Tick({ on, words, set }: { on: boolean; words: string; set: (on: boolean) => void }) {
  return (
    <label>
      <input type="checkbox" checked={on} aria-label={words} onChange={(event) => set(event.currentTarget.checked)} />
    </label>
  );
}

// Groups and tags are links that add them to the filter.
function Tags({ of: { group, tags } }: { of: Annotation }) {
  const chosen = parameters.value.getAll("tag");
  return (
    <p class="tags">
      {group != null && <a class="tag group" href={hrefWith({ group: [group] })}>{group}</a>}
      {tags.map((tag) => (
        <a key={tag} class="tag" href={hrefWith({ tag: [...new Set([...chosen, tag])] })}>{tag}</a>
      ))}
    </p>
  );
}

// The reason of a state, unless the state says it all.
function whyOf({ runtime }: Job): string {
  if (runtime.state === "completed" || runtime.waitingFor === "held") return "";
  const slow = runtime.slow == null ? null : says.slow(speed(runtime.slow.secondsPerStep), speed(runtime.slow.usual));
  const parts = [runtime.watchdog?.why ?? runtime.reason, runtime.failure?.advice ?? runtime.advice, slow];
  return parts.filter((part) => part != null).join(" ");
}

function HowFar({ job }: { job: Job }) {
  const { progress, state } = job.runtime;
  const done = percentDone(job);
  if (progress == null && done === null) return null;
  const items = progress?.total != null && progress.done != null && progress.phase !== "training";
  return (
    <>
      {done !== null && state !== "completed" && <Bar done={done} of={job.context.name} />}
      <p class="facts">
        {done !== null && state !== "completed" && <b>{text.units.percent(done)}</b>}
        {progress?.totalSteps != null && <span>{says.steps(whole(progress.step ?? 0), whole(progress.totalSteps))}</span>}
        {items && <span>{says.items(whole(progress.done), whole(progress.total))}</span>}
        {state === "running" && progress?.secondsPerStep != null && <span>{speed(progress.secondsPerStep)}</span>}
      </p>
    </>
  );
}

function Time({ job }: { job: Job }) {
  const present = now.value;
  const { runtime } = job;
  if (ACTIVE.includes(runtime.state)) {
    const left = secondsLeft(job, present);
    if (left === null) return <>{says.started(age(runtime.attempt?.startedAt ?? runtime.submittedAt, present))}</>;
    return <><b>{says.left(duration(left))}</b> <span class="muted">{says.doneAt(moment(present + left, present))}</span></>;
  }
  if (WAITING.includes(runtime.state)) {
    if (runtime.notBefore != null && runtime.notBefore > present) return <>{says.notBefore(moment(runtime.notBefore, present))}</>;
    return runtime.queuePlace == null ? null : <>{says.place(runtime.queuePlace)}</>;
  }
  const ended = runtime.attempt?.endedAt;
  const then = ended ?? runtime.submittedAt;
  return <time dateTime={new Date(then * 1000).toISOString()} title={moment(then, present)}>{says.ago(age(then, present))}</time>;
}
