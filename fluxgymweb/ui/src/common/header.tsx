// SPDX-License-Identifier: Apache-2.0
// The top of every screen: the way to the screens, the GPUs, and a bar for what does not answer.
import { text } from "../text.ts";
import { now } from "./clock.ts";
import { moment } from "./format.ts";
import { GpuStrip } from "./gpus.tsx";
import { openHelp } from "./help.tsx";
import { machine, outage, outdated } from "./live.ts";
import { Prose } from "./prose.tsx";
import { at } from "./root.ts";
import { path } from "./route.ts";

const SCREENS = [
  { href: at("/"), words: text.header.jobs, holds: (here: string) => here === "/" || here.startsWith("/jobs/") },
  { href: at("/system"), words: text.header.system, holds: (here: string) => here.startsWith("/system") },
];

export function Header() {
  return (
    <>
      <a class="skip" href="#main">{text.header.skip}</a>
      <header class="top">
        <a class="brand" href={at("/")}>{text.product}</a>
        <nav aria-label={text.header.screens}>
          {SCREENS.map(({ href, words, holds }) => (
            <a key={href} href={href} aria-current={holds(path.value) ? "page" : undefined}>{words}</a>
          ))}
        </nav>
        {machine.value?.queuePaused && <span class="pill calm">{text.header.paused}</span>}
        <GpuStrip />
        <button class="quiet round" onClick={openHelp} aria-label={text.header.help} title={text.header.help}>?</button>
      </header>
      <OutageBar />
      {outdated.value && (
        <div class="bar calm">
          {text.away.newer} <button class="quiet" onClick={() => location.reload()}>{text.reload}</button>
        </div>
      )}
    </>
  );
}

function OutageBar() {
  const away = outage.value;
  if (away === null) return null;
  return (
    <div class="bar" role="alert">
      <b><Prose says={away.message} /></b> {text.away.since(moment(away.since, now.value))}
    </div>
  );
}
