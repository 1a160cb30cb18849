// SPDX-License-Identifier: Apache-2.0
// The bar with what can be done to the ticked jobs.
import { useSignal } from "@preact/signals";
import { confirm, Dialog } from "../common/dialog.tsx";
import { type Outcome, restore, toEach } from "../common/each.ts";
import { jobs } from "../common/live.ts";
import { complain, notify } from "../common/notices.tsx";
import { WAITING } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { hold, move, release, remove, stop } from "./actions.ts";
import { chosen, tick, untickAll } from "./chosen.ts";
import { inOrder } from "./filter.ts";
import { forget } from "./older.ts";
import { applies, Verb } from "./verbs.ts";

const says = text.jobs;

export function ChosenBar({ shown }: { shown: readonly string[] }) {
  const moving = useSignal<string[] | null>(null);
  const ticked = chosen.value;
  if (ticked.length === 0) return null;
  const begin = (verb: Verb, names: string[]) => {
    if (verb === "move") moving.value = names;
    else if (verb === "stop") askToStop(names, ticked);
    else void carryOut(verb, names);
  };
  return (
    <div class="chosen" role="toolbar" aria-label={says.withChosen}>
      <b>{says.chosen(ticked.length)}</b>
      {Verb.map((verb) => {
        const names = inOrder(ticked.filter((job) => applies(verb, job))).map((job) => job.context.name);
        const part = names.length === ticked.length ? "" : ` ${names.length}`;
        return (
          <button key={verb} disabled={names.length === 0} onClick={() => begin(verb, names)}>
            {says.verbs[verb]}{names.length > 0 && part}
          </button>
        );
      })}
      {shown.length > ticked.length && (
        <button class="quiet" onClick={() => tick(shown, true)}>{says.tickShown(shown.length)}</button>
      )}
      <button class="quiet" onClick={untickAll}>{says.untick}</button>
      {moving.value !== null && <MoveDialog names={moving.value} close={() => { moving.value = null; }} />}
    </div>
  );
}

function askToStop(names: string[], ticked: readonly Job[]): void {
  const jobs = ticked.filter((job) => names.includes(job.context.name));
  const active = jobs.filter((job) => !WAITING.includes(job.runtime.state));
  const programs = active.filter((job) => job.context.kind === "program").length;
  confirm({
    title: says.stopTitle(names),
    says: says.stopSays(active.length - programs, programs, jobs.length - active.length),
    yes: says.verbs.stop,
    run: () => void carryOut("stop", names),
  });
}

async function carryOut(verb: Exclude<Verb, "move">, names: readonly string[]): Promise<void> {
  const trash: string[] = [];
  const acts = { stop, hold, release, remove: remove(trash) };
  tell(verb, await toEach(names, acts[verb]), trash);
}

function tell(verb: Verb, { done, refused }: Outcome, trash: readonly string[] = []): void {
  untickAll();
  if (verb === "remove") forget(done);
  if (refused.length > 0) complain(refused.join(" "));
  if (done.length === 0) return;
  const undo = { words: text.undo, run: () => void restoreAll(trash) };
  notify(says.did[verb](done), trash.length > 0 ? undo : undefined);
}

async function restoreAll(trash: readonly string[]): Promise<void> {
  const names: string[] = [];
  const { refused } = await toEach(trash, async (id) => names.push(await restore(id)));
  if (refused.length > 0) complain(refused.join(" "));
  if (names.length > 0) notify(says.restored(names));
}

function MoveDialog({ names, close }: { names: string[]; close: () => void }) {
  const others = inOrder(jobs.value.values())
    .filter((job) => applies("move", job) && !names.includes(job.context.name))
    .map((job) => job.context.name);
  const before = useSignal("");
  const run = async () => tell("move", await move(names, before.value === "" ? null : before.value));
  return (
    <Dialog title={says.moveTitle(names)} close={close}>
      <form method="dialog">
        <label class="field">
          {says.moveWhere}
          <select onChange={(event) => { before.value = event.currentTarget.value; }}>
            <option value="">{says.moveFront}</option>
            {others.map((name) => <option key={name} value={name}>{says.moveBefore(name)}</option>)}
          </select>
        </label>
        <div class="buttons">
          <button>{text.cancel}</button>
          <button class="strong" onClick={() => void run()}>{says.verbs.move}</button>
        </div>
      </form>
    </Dialog>
  );
}
