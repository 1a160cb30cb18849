// SPDX-License-Identifier: Apache-2.0
// The card below the top: what the trainer does at present, in words, or why the job is in its state and what can be
// done about it.
import type { ComponentChildren } from "preact";
import { whole } from "../common/format.ts";
import { Prose } from "../common/prose.tsx";
import { type Look, lookOf } from "../common/states.ts";
import type { Job, Phase } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { Remedies } from "./actions.tsx";

const says = text.job;
// The pill says it all while the steps are trained.
const DOING: Record<Exclude<Phase, "training">, string> = says.phases;

export function Reason({ job }: { job: Job }) {
  const { runtime } = job;
  if (runtime.state === "completed") return null; // the pill says it all
  const told = [runtime.watchdog?.why ?? runtime.reason, runtime.failure?.advice ?? runtime.advice];
  const sentences = told.filter((one) => one != null);
  if (sentences.length === 0) return <Doing job={job} />;
  return (
    <Card tone={lookOf(job).tone}>
      {sentences.map((one, number) => <p key={number}>{number === 0 ? <b><Prose says={one} /></b> : <Prose says={one} />}</p>)}
      <Remedies key={runtime.id} job={job} />
    </Card>
  );
}

function Doing({ job: { runtime } }: { job: Job }) {
  const { progress, state } = runtime;
  if (state !== "running" || progress == null || progress.phase === "training") return null;
  return (
    <Card tone="busy">
      <p>
        {DOING[progress.phase]}
        {progress.total != null && <> {says.doneOf(whole(progress.done ?? 0), whole(progress.total))}</>}
      </p>
    </Card>
  );
}

function Card({ tone, children }: { tone: Look["tone"]; children: ComponentChildren }) {
  return <section class={`panel reason ${tone}`} aria-label={says.reason}>{children}</section>;
}
