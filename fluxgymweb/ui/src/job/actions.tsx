// SPDX-License-Identifier: Apache-2.0
// What can be done with the job in its state. Drawing samples has its own button.
import { useSignal } from "@preact/signals";
import { call } from "../common/api.ts";
import { confirm } from "../common/dialog.tsx";
import { restore } from "../common/each.ts";
import { jobs } from "../common/live.ts";
import { complain, notify } from "../common/notices.tsx";
import { type Offer, offersOf } from "../common/offers.ts";
import { Prose } from "../common/prose.tsx";
import { at } from "../common/root.ts";
import { go } from "../common/route.ts";
import { ACTIVE } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";
import { hold, release, remove, stop } from "../jobs/actions.ts";
import { forget } from "../jobs/older.ts";
import { text } from "../text.ts";
import { actions as says } from "../text/job.ts";
import { Copyable } from "./copy.tsx";
import { More } from "./more.tsx";
import { lowerTier, ranOutOfMemory, type Tier } from "./ended.ts";
import { type Press, usePress } from "./press.ts";

type Act = Exclude<Offer, "more" | "remove">;

const ACTS: Record<Act, (name: string) => Promise<unknown>> = {
  save: (name) => call("org.fluxgym.Jobs.SaveNow", { name }),
  stop,
  stopNow: stop,
  stopLater: (name) => call("org.fluxgym.Jobs.Stop", { name, afterCheckpoint: true }),
  resume: (name) => call("org.fluxgym.Jobs.Resume", { name }).then(warned),
  assumeGone: (name) => call("org.fluxgym.Jobs.Resume", { name, assumeGone: true }).then(warned),
  hold,
  release,
  move: (name) => call("org.fluxgym.Jobs.Move", { name }),
};

export function Actions({ job }: { job: Job }) {
  const press = usePress();
  const continues = useSignal(false);
  const { name } = job.context;
  const offers = offersOf(job);
  const begin = (offer: Offer) => {
    if (offer === "more") continues.value = true;
    else if (offer === "remove") press.run(() => removeIt(name));
    else if (offer === "stop" || offer === "assumeGone") ask(offer, job, press);
    else press.run(() => carryOut(offer, name));
  };
  return (
    <div class="actions">
      <div class="buttons" role="group" aria-label={says.of(name)}>
        {offers.map((offer) => (
          <button key={offer} disabled={press.busy.value} onClick={() => begin(offer)}>{says.words[offer]}</button>
        ))}
      </div>
      {press.refused.value !== "" && <p class="refused" role="alert"><Prose says={press.refused.value} /></p>}
      {continues.value && <More job={job} close={() => { continues.value = false; }} />}
    </div>
  );
}

function ask(offer: "stop" | "assumeGone", job: Job, press: Press): void {
  const { context: { name, kind }, runtime: { state } } = job;
  const isGone = offer === "assumeGone";
  const stops = ACTIVE.includes(state) || state === "lost";
  const loses = kind === "program" ? says.stopProgramSays : says.stopSays;
  confirm({
    title: isGone ? says.goneTitle(name) : says.stopTitle(name),
    says: isGone ? says.goneSays : stops ? loses : says.cancelSays,
    yes: says.words[offer],
    run: () => press.run(() => carryOut(offer, name)),
  });
}

async function carryOut(act: Act, name: string): Promise<void> {
  await ACTS[act](name);
  notify(says.did[act](name));
}

async function removeIt(name: string): Promise<void> {
  const trash: string[] = [];
  await remove(trash)(name);
  forget([name]);
  go(at("/"));
  const [id] = trash;
  const undo = { words: text.undo, run: () => void bringBack(id ?? name) };
  notify(says.did.remove(name), id === undefined ? undefined : undo);
}

async function bringBack(id: string): Promise<void> {
  try {
    go(at(`/jobs/${encodeURIComponent(await restore(id))}`));
  } catch (problem) {
    complain(problem instanceof Error ? problem.message : String(problem));
  }
}

function warned({ warnings }: { warnings?: string[] | null }): void {
  if (warnings != null && warnings.length > 0) complain(warnings.join(" "));
}

// The remedies of a failure that the page can offer, for the card with its reason.
export function Remedies({ job }: { job: Job }) {
  const press = usePress();
  if (!ranOutOfMemory(job)) return null;
  const tier = lowerTier(job);
  if (tier === null) return <p>{says.noLower}</p>;
  const { name } = job.context;
  return (
    <>
      <div>
        <button class="strong" disabled={press.busy.value} onClick={() => press.run(() => useTier(name, tier))}>
          {says.memory(tier)}
        </button>
      </div>
      {press.refused.value !== "" && <p class="refused" role="alert"><Prose says={press.refused.value} /></p>}
    </>
  );
}

async function useTier(name: string, tier: Tier): Promise<void> {
  const { job } = await call("org.fluxgym.Jobs.Compose", { job: { name }, like: name, presets: [tier] });
  await call("org.fluxgym.Jobs.Edit", { job: { name, trainerOptions: job.trainerOptions ?? {} } });
  warned(await call("org.fluxgym.Jobs.Resume", { name }));
  notify(says.memoryDid(name));
}

export function TrainAgain({ job: { context: { name } } }: { job: Job }) {
  const other = nameOfAnother(name);
  return <><p>{says.again}</p><Copyable says={`fluxgymctl submit ${other} --like ${name}`} /></>;
}

function nameOfAnother(name: string): string {
  for (let number = 2; ; number += 1) if (!jobs.value.has(`${name}-${number}`)) return `${name}-${number}`;
}
