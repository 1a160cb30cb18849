// SPDX-License-Identifier: Apache-2.0
// The top of a job's screen: its state, and how far it is.
import type { ComponentChildren } from "preact";
import { Bar } from "../common/bar.tsx";
import { now } from "../common/clock.ts";
import { age, decimal, duration, moment, speed, whole } from "../common/format.ts";
import { percentDone, secondsLeft } from "../common/progress.ts";
import { Pill } from "../common/shape.tsx";
import { ACTIVE, hasEnded, lookOf, WAITING } from "../common/states.ts";
import { TellMe } from "../common/tell.tsx";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { Actions } from "./actions.tsx";

const says = text.job;
const MOST_MARKS = 40; // with more epochs, the marks of the bar would be a grey area

export function Head({ job }: { job: Job }) {
  const { name } = job.context;
  const done = percentDone(job);
  const epochs = job.runtime.progress?.totalEpochs ?? 1;
  return (
    <section class="panel head">
      <Pill look={lookOf(job)} />
      <h1>{name}</h1>
      {done !== null && (
        <div class={epochs > 1 && epochs <= MOST_MARKS ? "marked" : undefined} style={{ "--parts": String(epochs) }}>
          <Bar done={done} of={name} />
        </div>
      )}
      <Facts job={job} done={done} />
      <Actions key={job.runtime.id} job={job} />
      {!hasEnded(job) && <div><TellMe name={name} /></div>}
    </section>
  );
}

function Facts({ job, done }: { job: Job; done: number | null }) {
  const { runtime } = job;
  const { progress, slow, state } = runtime;
  const restarts = runtime.restarts ?? 0;
  return (
    <p class="facts large">
      {done !== null && <span><b>{text.units.percent(done)}</b></span>}
      {progress?.totalSteps != null && <span>{text.jobs.steps(whole(progress.step ?? 0), whole(progress.totalSteps))}</span>}
      {progress?.epoch != null && progress.totalEpochs != null && (
        <Fact of={says.epoch(whole(progress.epoch), whole(progress.totalEpochs))} />
      )}
      <Time job={job} />
      {state === "running" && progress?.secondsPerStep != null && <span>{speed(progress.secondsPerStep)}</span>}
      {runtime.energy != null && <span>{says.energy(decimal(runtime.energy / 1000))}</span>}
      {restarts > 0 && runtime.restartsAllowed != null && (
        <span class="warn">{says.restarts(whole(restarts), whole(runtime.restartsAllowed))}</span>
      )}
      {slow != null && (
        <span class="warn">
          {says.slow(moment(slow.since, now.value), speed(slow.secondsPerStep), speed(slow.usual))}
        </span>
      )}
    </p>
  );
}

function Fact({ of: [first, rest] }: { of: readonly [ComponentChildren, ComponentChildren] }) {
  return <span><b>{first}</b> {rest}</span>;
}

function Time({ job }: { job: Job }) {
  const present = now.value;
  const { runtime } = job;
  const { attempt } = runtime;
  if (ACTIVE.includes(runtime.state)) {
    const left = secondsLeft(job, present);
    if (left === null) return <span>{text.jobs.started(age(attempt?.startedAt ?? runtime.submittedAt, present))}</span>;
    return <Fact of={[text.jobs.left(duration(left)), text.jobs.doneAt(moment(present + left, present))]} />;
  }
  if (WAITING.includes(runtime.state)) {
    return (
      <>
        {runtime.queuePlace != null && <span>{text.jobs.place(runtime.queuePlace)}</span>}
        {runtime.notBefore != null && runtime.notBefore > present && (
          <span>{text.jobs.notBefore(moment(runtime.notBefore, present))}</span>
        )}
      </>
    );
  }
  return attempt?.endedAt == null ? null : <span>{says.ended(moment(attempt.endedAt, present))}</span>;
}
