// SPDX-License-Identifier: Apache-2.0
// The System screen: the machine, its disks, the daemon, and what does not work.
import { useEffect } from "preact/hooks";
import { call } from "../common/api.ts";
import { useAsked } from "../common/asked.ts";
import { Checks } from "../common/checks.tsx";
import { machine } from "../common/live.ts";
import { Prose } from "../common/prose.tsx";
import { text } from "../text.ts";
import { Daemon } from "./daemon.tsx";
import { Disks } from "./disks.tsx";
import { Gpus } from "./gpus.tsx";
import { Hooks } from "./hooks.tsx";
import { Queue } from "./queue.tsx";
import { Settings } from "./settings.tsx";
import { Trash } from "./trash.tsx";

const says = text.system;

export function SystemScreen() {
  const { value, problem } = useAsked(() => call("org.fluxgym.Machine.Settings", {}));
  const settings = value?.settings ?? [];
  const known = machine.value !== null;
  useEffect(() => document.getElementById(location.hash.slice(1))?.scrollIntoView(), [known]);
  return (
    <>
      <h1>{says.title}</h1>
      {machine.value === null ? <p class="muted">{says.loading}</p> : <Trouble degraded={machine.value.degraded} />}
      <div class="system">
        <div>
          <Gpus />
          <Disks />
          {problem !== "" && <p class="refused"><Prose says={problem} /></p>}
          <Settings all={settings} />
        </div>
        <div>
          <Queue />
          <section class="panel stack" id="checks"><h2>{text.checks.title}</h2><Checks /></section>
          <Trash />
          <Hooks all={settings} />
          <Daemon />
        </div>
      </div>
    </>
  );
}

function Trouble({ degraded }: { degraded: readonly string[] }) {
  if (degraded.length === 0) return <p class="muted">{says.fine}</p>;
  return (
    <section class="panel trouble" aria-labelledby="degraded">
      <h2 id="degraded">{says.degraded}</h2>
      <ul>{degraded.map((one) => <li key={one}><Prose says={one} /></li>)}</ul>
    </section>
  );
}
