// SPDX-License-Identifier: Apache-2.0
// The section with what the job has written: LoRAs by epoch, checkpoints with the space that they take, and the rest.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { call } from "../common/api.ts";
import { now } from "../common/clock.ts";
import { confirm } from "../common/dialog.tsx";
import { moment, size, whole } from "../common/format.ts";
import { notify } from "../common/notices.tsx";
import { Prose } from "../common/prose.tsx";
import { hasEnded } from "../common/states.ts";
import type { Checkpoint, Job, JobFile } from "../generated/jobs.ts";
import { files as says } from "../text/job.ts";
import { Copyable } from "./copy.tsx";
import { stageOf, useFetched } from "./fetched.ts";
import { useFiles } from "./job-files.ts";
import { fileOf } from "./links.ts";
import { More } from "./more.tsx";
import { bestOf, keptStates, mayPrune } from "./ended.ts";
import { usePress } from "./press.ts";

export function Files({ job }: { job: Job }) {
  const { value, problem, again } = useFiles(job);
  const found = value ?? [];
  const loras = found.filter(({ kind }) => kind === "lora");
  const others = found.filter(({ kind }) => !["lora", "state", "sample"].includes(kind));
  return (
    <>
      {problem !== "" && <p class="refused">{problem}</p>}
      {value !== null && found.length === 0 && <p class="muted">{says.none}</p>}
      {job.context.kind !== "program" && <Loras job={job} loras={loras} isKnown={value !== null} />}
      {job.context.kind !== "program" && <States job={job} changed={again} />}
      {others.length > 0 && (
        <section class="panel">
          <details open={loras.length === 0}>
            <summary><h2>{says.others} <span class="muted">{others.length}</span></h2></summary>
            <Table files={others} job={job} />
          </details>
        </section>
      )}
    </>
  );
}

function Loras({ job, loras, isKnown }: { job: Job; loras: readonly JobFile[]; isKnown: boolean }) {
  const press = usePress();
  const { name } = job.context;
  const best = job.annotation?.best;
  const mark = (file: string) => press.run(async () => {
    await call("org.fluxgym.Jobs.Annotate", { name, best: file });
    notify(file === "" ? says.unmarked : says.marked(file));
  });
  const chosen = bestOf(job, loras);
  return (
    <section class="panel">
      <h2>{says.loras}</h2>
      {isKnown && loras.length === 0 && <p class="muted">{says.noLora}</p>}
      {press.refused.value !== "" && <p class="refused" role="alert"><Prose says={press.refused.value} /></p>}
      {loras.length > 0 && (
        <Table files={loras} job={job} lead={(file) => (
          <button class="quiet star" aria-pressed={file.name === best} disabled={press.busy.value}
            title={file.name === best ? says.unmark : says.best} aria-label={`${says.best}: ${file.name}`}
            onClick={() => mark(file.name === best ? "" : file.name)}>{file.name === best ? "★" : "☆"}</button>
        )} />
      )}
      {chosen !== null && <><p class="muted">{says.curl}</p><Copyable says={curl(name, chosen.name)} /></>}
    </section>
  );
}

// A line for a terminal, which needs the token that only this user can read.
function curl(job: string, file: string): string {
  const url = new URL(fileOf(job, file), window.location.href);
  return `curl -OJ -H "Authorization: Bearer $(cat ~/.local/state/fluxgym/web/token)" '${url.href}'`;
}

type TableProps = { files: readonly JobFile[]; job: Job; lead?: (file: JobFile) => ComponentChildren };

function Table({ files, job, lead }: TableProps) {
  const known = files.some(({ step, epoch }) => step != null || epoch != null);
  return (
    <table class="files">
      <thead>
        <tr>
          {lead && <th class="lead"><span class="unseen">{says.best}</span></th>}
          <th>{says.columns.file}</th>
          {known && <><th class="number">{says.columns.epoch}</th><th class="number">{says.columns.step}</th></>}
          <th class="number">{says.columns.size}</th>
          <th class="wide">{says.columns.written}</th>
        </tr>
      </thead>
      <tbody>
        {files.map((file) => (
          <tr key={file.name}>
            {lead && <td class="lead">{lead(file)}</td>}
            <th scope="row"><a href={fileOf(job.context.name, file.name)} download title={says.download(file.name)}>{file.name}</a></th>
            {known && <><td class="number">{whole(file.epoch)}</td><td class="number">{whole(file.step)}</td></>}
            <td class="number">{size(file.size)}</td>
            <td class="wide">{moment(file.createdAt, now.value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function States({ job, changed }: { job: Job; changed: () => void }) {
  const press = usePress();
  const { name } = job.context;
  const from = useSignal<string | null>(null);
  const branches = hasEnded(job);
  const found = useFetched(stageOf(job), async () => (await call("org.fluxgym.Jobs.Checkpoints", { name })).checkpoints);
  const states = found.value ?? [];
  const kept = keptStates(job);
  const surplus = states.filter(({ complete }) => complete).slice(kept);
  const free = () => press.run(async () => {
    const { freed } = await call("org.fluxgym.Jobs.PruneStates", { name, keep: kept });
    notify(says.freed(size(freed)));
    found.again();
    changed();
  });
  const ask = () => confirm({
    title: says.freeTitle(surplus.length), says: says.freeSays(kept), yes: says.free(sizeOf(surplus)), run: free,
  });
  if (states.length === 0) return null;
  return (
    <section class="panel">
      <div class="titled">
        <h2>{says.states}</h2>
        {surplus.length > 0 && mayPrune(job) && (
          <button disabled={press.busy.value} onClick={ask}>{says.free(sizeOf(surplus))}</button>
        )}
      </div>
      <p class="muted">{says.statesSay}</p>
      {press.refused.value !== "" && <p class="refused" role="alert"><Prose says={press.refused.value} /></p>}
      <table class="files">
        <thead>
          <tr>
            <th>{says.columns.file}</th><th class="number">{says.columns.epoch}</th>
            <th class="number">{says.columns.step}</th><th class="number">{says.columns.size}</th>
          </tr>
        </thead>
        <tbody>{states.map((state) => <State key={state.name} of={state} branch={branches ? () => { from.value = state.name; } : null} />)}</tbody>
      </table>
      {from.value !== null && <More job={job} from={from.value} close={() => { from.value = null; }} />}
    </section>
  );
}

type StateProps = { of: Checkpoint; branch: (() => void) | null };

function State({ of: { name, complete, problem, epoch, step, size: bytes }, branch }: StateProps) {
  return (
    <tr>
      <th scope="row">
        {name} <span class={complete ? "muted" : "refused"}>{complete ? says.can : says.cannot}</span>
        {problem != null && <p class="refused"><Prose says={problem} /></p>}
        {complete && branch !== null && <div><button onClick={branch}>{says.branch}</button></div>}
      </th>
      <td class="number">{whole(epoch)}</td><td class="number">{whole(step)}</td><td class="number">{size(bytes)}</td>
    </tr>
  );
}

function sizeOf(states: readonly Checkpoint[]): string {
  return size(states.reduce((sum, one) => sum + one.size, 0));
}
