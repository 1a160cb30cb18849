// SPDX-License-Identifier: Apache-2.0
// The daemon and the web server: versions, how long it runs, and what it runs jobs with.
import type { ComponentChildren } from "preact";
import { call } from "../common/api.ts";
import { useAsked } from "../common/asked.ts";
import { now } from "../common/clock.ts";
import { age, duration, moment } from "../common/format.ts";
import { Prose } from "../common/prose.tsx";
import { VERSION } from "../common/root.ts";
import type { Output } from "../common/api.ts";
import { text } from "../text.ts";

const says = text.system.daemon;
const REFRESH_MS = 20_000;
const LATE_SECONDS = 0.5; // a shorter delay says nothing

export function Daemon() {
  const { value, problem } = useAsked(() => call("org.fluxgym.Machine.Info", {}), { everyMs: REFRESH_MS });
  return (
    <section class="panel stack" id="daemon">
      <h2>{says.title}</h2>
      {problem !== "" && <p class="refused"><Prose says={problem} /></p>}
      {value !== null && (
        <dl class="pairs wide">
          {factsOf(value).map(([name, fact]) => <div key={name}><dt class="muted">{name}</dt><dd>{fact}</dd></div>)}
        </dl>
      )}
    </section>
  );
}

type Info = Output<"org.fluxgym.Machine.Info">;

function factsOf(info: Info): [string, ComponentChildren][] {
  const sleep = says.sleeps[info.sleepInhibitor] ?? info.sleepInhibitor;
  return [
    [says.version, info.version],
    [says.server, VERSION],
    [says.up, says.upSince(age(info.startedAt, now.value), moment(info.startedAt, now.value))],
    [says.supervisor, <>{says.supervisors[info.supervisor] ?? info.supervisor}
      <p class="muted small"><Prose says={info.supervisorReason} /></p></>],
    [says.linger, <Prose says={lingerOf(info)} />],
    [says.sleep, <><Prose says={sleep} />
      {info.sleepInhibitorReason != null && <p class="muted small"><Prose says={info.sleepInhibitorReason} /></p>}</>],
    [says.home, <code>{info.home}</code>],
    [says.socket, <code>{info.socket}</code>],
    [says.pid, String(info.pid)],
    ...(info.loopLate != null && info.loopLate >= LATE_SECONDS
      ? [[says.late, duration(info.loopLate)] as [string, string]] : []),
  ];
}

function lingerOf({ supervisor, linger }: Info): string {
  return supervisor === "process" && linger === "disabled" ? says.lingerOfProcesses : (says.lingers[linger] ?? linger);
}
