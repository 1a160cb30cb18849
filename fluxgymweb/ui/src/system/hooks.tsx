// SPDX-License-Identifier: Apache-2.0
// The hooks, and what came of a test of them.
import { useSignal } from "@preact/signals";
import { Action } from "../common/action.tsx";
import { stream } from "../common/api.ts";
import { duration } from "../common/format.ts";
import { Prose } from "../common/prose.tsx";
import { Icon } from "../common/shape.tsx";
import type { HookResult, Setting } from "../generated/machine.ts";
import { text } from "../text.ts";

const says = text.system.hooks;
const PREFIX = "hooks.on_";
const UNSET = "off";

export function Hooks({ all }: { all: readonly Setting[] }) {
  const hooks = all.filter(({ key }) => key.startsWith(PREFIX));
  return (
    <section class="panel stack" id="hooks">
      <h2>{says.title}</h2>
      <p class="muted"><Prose says={says.says} /></p>
      <ul class="rows">
        {hooks.map((setting) => <Hook key={setting.key} event={setting.key.slice(PREFIX.length)} calls={setting.value} />)}
      </ul>
    </section>
  );
}

function Hook({ event, calls }: { event: string; calls: string }) {
  const result = useSignal<HookResult | null>(null);
  const words = (says.events as Record<string, string>)[event] ?? event;
  const test = async () => {
    result.value = null;
    for await (const reply of stream("org.fluxgym.Machine.TestHook", { hook: event })) {
      if (reply.problem != null) throw new Error(reply.problem);
      if (reply.result != null) result.value = reply.result;
    }
  };
  return (
    <li>
      <p><b>{words}</b></p>
      <p>{calls === UNSET ? <span class="muted">{says.unset}</span> : <code>{calls}</code>}</p>
      <p class="tools">{calls !== UNSET && <Action words={says.test} label={says.testOne(words)} run={test} />}</p>
      <div class="wide" role="status">{result.value !== null && <Result of={result.value} />}</div>
    </li>
  );
}

function Result({ of: { problem, status, output, seconds } }: { of: HookResult }) {
  const good = problem == null;
  return (
    <>
      <p>
        <span class={`mark ${good ? "good" : "bad"}`}><Icon shape={good ? "tick" : "cross"} /></span>{" "}
        <Prose says={good ? says.good(duration(seconds)) : says.bad(problem)} />
        {good && status != null && <> {says.status(status)}</>}
      </p>
      {output !== "" && <pre aria-label={says.wrote} tabIndex={0}><code>{output}</code></pre>}
    </>
  );
}
