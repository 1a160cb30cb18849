// SPDX-License-Identifier: Apache-2.0
// Whether this machine is fit to train: the daemon's checks, each with its remedy. They run when they are shown.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { CheckOutcome, CheckResult } from "../generated/machine.ts";
import { text } from "../text.ts";
import { sentence, stream } from "./api.ts";
import { Prose } from "./prose.tsx";
import { Icon } from "./shape.tsx";
import type { Shape, Tone } from "./states.ts";

const says = text.checks;

const checks = signal<readonly CheckResult[]>([]);
const problem = signal("");
const checking = signal(false);

const LOOKS: Record<CheckOutcome, [Shape, Tone]> = {
  good: ["tick", "good"], warning: ["warning", "warn"], problem: ["cross", "bad"],
};

async function check(): Promise<void> {
  if (checking.value) return;
  checking.value = true;
  checks.value = [];
  problem.value = "";
  try {
    for await (const { check: result } of stream("org.fluxgym.Machine.Check", {})) {
      if (result != null) checks.value = [...checks.value, result];
    }
  } catch (refused) {
    problem.value = sentence(refused);
  }
  checking.value = false;
}

export function Checks() {
  useEffect(() => void check(), []);
  return (
    <>
      <ul class="checks" aria-busy={checking.value}>{checks.value.map((one) => <Check key={one.text} result={one} />)}</ul>
      {problem.value !== "" && <p class="refused"><Prose says={problem.value} /></p>}
      <div><button disabled={checking.value} onClick={() => void check()}>{checking.value ? says.checking : says.again}</button></div>
    </>
  );
}

function Check({ result }: { result: CheckResult }) {
  const [shape, tone] = LOOKS[result.outcome] ?? LOOKS.warning;
  return (
    <li>
      <span class={`mark ${tone}`} title={says.outcomes[result.outcome]}><Icon shape={shape} /></span>
      <div>
        <span class="unseen">{says.outcomes[result.outcome]}: </span><Prose says={result.text} />
        {result.remedy != null && <p class="muted"><Prose says={result.remedy} /></p>}
        {result.command != null && <p><code>{result.command}</code></p>}
      </div>
    </li>
  );
}
