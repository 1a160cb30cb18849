// SPDX-License-Identifier: Apache-2.0
// The disks, and what fills them.
import { Action } from "../common/action.tsx";
import { now } from "../common/clock.ts";
import { moment, size } from "../common/format.ts";
import { machine } from "../common/live.ts";
import { parameters, set } from "../common/route.ts";
import { type Disk, DiskUseKind } from "../generated/machine.ts";
import { text } from "../text.ts";
import { type Part, partsOf } from "./disk.ts";
import { FreeStates } from "./free_states.tsx";
import { measure } from "./measure.ts";

const says = text.system.disks;
const KINDS: readonly string[] = DiskUseKind;

export function Disks() {
  const { disks = [], unanswered } = machine.value ?? {};
  const freeing = disks.find(({ path }) => path === parameters.value.get("free"));
  return (
    <section class="panel stack" id="disks">
      <h2>{says.title}</h2>
      {disks.length === 0 && <p class="muted">{says.unmeasured}</p>}
      {disks.map((disk) => <One key={disk.path} disk={disk} />)}
      {unanswered != null && <p class="warn">{says.unanswered(unanswered.join(", "))}</p>}
      <p><Action words={says.measure} run={measure} /></p>
      {freeing !== undefined && (
        <FreeStates uses={freeing.uses.find(({ what }) => what === "states")?.jobs ?? []}
          close={() => set({ free: [] }, { replace: true })} />
      )}
    </section>
  );
}

function One({ disk }: { disk: Disk }) {
  const parts = partsOf(disk);
  let start = 0;
  return (
    <article class="stack">
      <div class="ends">
        <h3><code>{disk.path}</code></h3>
        <span>{says.room(size(disk.free), size(disk.total))}</span>
      </div>
      <svg class="fills" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">
        {parts.filter(({ what }) => what !== "free").map((part) => {
          const width = (100 * part.size) / disk.total;
          start += width;
          return <rect key={part.what} class="use" style={hue(part)} x={start - width} width={width} height="1" />;
        })}
      </svg>
      <table class="plain shares">
        <caption class="unseen">{says.uses(disk.path)}</caption>
        <thead>
          <tr>
            <th>{says.columns.what}</th>
            <th class="number">{says.columns.size}</th>
            <th class="number">{says.columns.share}</th>
            <th><span class="unseen">{says.columns.remedy}</span></th>
          </tr>
        </thead>
        <tbody>
          {parts.map((part) => (
            <tr key={part.what}>
              <th scope="row"><span class="use swatch" style={hue(part)} />{says.kinds[part.what] ?? part.what}</th>
              <td class="number">{size(part.size)}</td>
              <td class="number">{text.units.percent(share(part.size, disk.total))}</td>
              <td class="number"><Remedy part={part} path={disk.path} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="muted small">
        {disk.measuredAt == null ? says.unmeasured : says.measured(moment(disk.measuredAt, now.value))}
      </p>
    </article>
  );
}

function Remedy({ part: { what, size: bytes }, path }: { part: Part; path: string }) {
  if (what === "states") return <button onClick={() => set({ free: [path] })}>{says.freeStates(size(bytes))}</button>;
  return what === "trash" ? <a href="#trash">{says.toTrash}</a> : null;
}

function share(part: number, whole: number): string {
  const percent = (100 * part) / whole;
  return part > 0 && percent < 1 ? "< 1" : String(Math.round(percent));
}

function hue({ what }: Part): Record<string, number | string> {
  return what === "foreign" ? { color: "var(--edge)" }
    : what === "free" ? { color: "var(--track)" }
    : { "--kind": KINDS.indexOf(what) };
}
