// SPDX-License-Identifier: Apache-2.0
// The queue: whether it starts jobs, and the button that changes that.
import { Action } from "../common/action.tsx";
import { call } from "../common/api.ts";
import { machine } from "../common/live.ts";
import { text } from "../text.ts";

const says = text.system.queue;

export function Queue() {
  const state = machine.value;
  if (state === null) return null;
  return (
    <section class="panel stack" id="queue">
      <h2>{says.title}</h2>
      <p><b>{state.queuePaused ? says.paused : says.open}</b> {says.counts(state.running, state.waiting)}</p>
      <p class="tools">
        {state.queuePaused
          ? <Action key="continue" words={says.continue} tone="strong" run={() => call("org.fluxgym.Machine.Continue", {})} />
          : <Action key="pause" words={says.pause} run={() => call("org.fluxgym.Machine.Pause", {})} />}
        {!state.queuePaused && <span class="muted">{says.pauseSays}</span>}
      </p>
    </section>
  );
}
