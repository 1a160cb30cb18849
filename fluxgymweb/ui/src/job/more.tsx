// SPDX-License-Identifier: Apache-2.0
// The dialog that continues a job in a new one: more epochs for a finished training, or a branch from an older
// checkpoint.
import { useSignal } from "@preact/signals";
import { call } from "../common/api.ts";
import { Dialog } from "../common/dialog.tsx";
import { whole } from "../common/format.ts";
import { jobs } from "../common/live.ts";
import { complain, notify } from "../common/notices.tsx";
import { Prose } from "../common/prose.tsx";
import { at } from "../common/root.ts";
import { go } from "../common/route.ts";
import type { Checkpoint, Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { more as says } from "../text/job.ts";
import { useFetched } from "./fetched.ts";
import { nameFor } from "./ended.ts";
import { usePress } from "./press.ts";

const EPOCHS = 4;

export function More({ job, from, close }: { job: Job; from?: string; close: () => void }) {
  const { name } = job.context;
  const found = useFetched(name, async () =>
    (await call("org.fluxgym.Jobs.Checkpoints", { name })).checkpoints.filter(({ complete }) => complete));
  const usable = found.value ?? [];
  return (
    <Dialog title={says.title(name)} close={close}>
      {found.problem !== "" && <p class="refused">{found.problem}</p>}
      {found.value !== null && usable.length === 0 && (
        <><p>{says.none}</p><form method="dialog" class="buttons"><button>{text.close}</button></form></>
      )}
      {usable.length > 0 && <Form job={job} usable={usable} from={from} close={close} />}
    </Dialog>
  );
}

type FormProps = { job: Job; usable: readonly Checkpoint[]; from: string | undefined; close: () => void };

function Form({ job, usable, from, close }: FormProps) {
  const { name, epochs: total } = job.context;
  const press = usePress();
  const chosen = useSignal(usable.find((one) => one.name === from)?.name ?? usable[0]?.name ?? "");
  const epochs = useSignal(EPOCHS);
  const typed = useSignal<string | null>(null);
  const begins = usable.find((one) => one.name === chosen.value)?.epoch ?? total ?? 0;
  const proposed = typed.value ?? nameFor(name, begins + epochs.value, (tried) => jobs.value.has(tried));
  const submit = async () => {
    const resumeFrom = { job: name, checkpoint: chosen.value };
    const given = { job: { name: proposed, resumeFrom }, moreEpochs: epochs.value };
    const { job: composed, notes } = await call("org.fluxgym.Jobs.Compose", given);
    const { warnings } = await call("org.fluxgym.Jobs.Submit", { job: composed });
    close();
    if (notes.length + warnings.length > 0) complain([...notes, ...warnings].join(" "));
    const open = { words: says.open, run: () => go(at(`/jobs/${encodeURIComponent(proposed)}`)) };
    notify(says.did(proposed), open);
  };
  return (
    <form class="first" onSubmit={(event) => { event.preventDefault(); press.run(submit); }}>
      <p>{says.says}</p>
      <label class="field">
        {says.from}
        <select value={chosen.value} onChange={(event) => { chosen.value = event.currentTarget.value; }}>
          {usable.map((one) => (
            <option key={one.name} value={one.name}>{says.checkpoint(whole(one.epoch), whole(one.step))}</option>
          ))}
        </select>
      </label>
      <label class="field">
        {says.epochs}
        <input type="number" min={1} max={10000} required value={epochs.value}
          onInput={(event) => { epochs.value = event.currentTarget.valueAsNumber || 0; }} />
      </label>
      <label class="field">
        {says.name}
        <input type="text" required value={proposed} onInput={(event) => { typed.value = event.currentTarget.value; }} />
      </label>
      {press.refused.value !== "" && <p class="refused" role="alert"><Prose says={press.refused.value} /></p>}
      <div class="buttons">
        <button type="button" onClick={close}>{text.cancel}</button>
        <button class="strong" disabled={press.busy.value}>{says.submit}</button>
      </div>
    </form>
  );
}
