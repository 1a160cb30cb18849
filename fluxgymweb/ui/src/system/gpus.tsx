// SPDX-License-Identifier: Apache-2.0
// Each GPU with its readings of the last hour, and the way out of its quarantine.
import { Action } from "../common/action.tsx";
import { call } from "../common/api.ts";
import { useAsked } from "../common/asked.ts";
import { now } from "../common/clock.ts";
import { size, whole } from "../common/format.ts";
import { machine } from "../common/live.ts";
import { notify } from "../common/notices.tsx";
import { Prose } from "../common/prose.tsx";
import { at } from "../common/root.ts";
import type { Gpu, GpuSeries } from "../generated/machine.ts";
import { text } from "../text.ts";
import { HEIGHT, linesOf, rangeOf, WIDTH } from "./series.ts";

const says = text.system.gpus;
const REFRESH_MS = 20_000;
const HOT = 100; // degrees at the upper edge
const HEADROOM = 1.25; // above the highest reading, where no limit is known

type Row = {
  what: keyof typeof says.rows;
  most: (gpu: Gpu) => number | null | undefined;
  show: (value: number) => string;
  top?: number;
};

const ROWS: Row[] = [
  { what: "utilization", most: () => null, show: text.units.percent, top: 100 },
  { what: "memoryUsed", most: (gpu) => gpu.memoryTotal, show: size },
  { what: "temperature", most: () => null, show: text.header.temperature, top: HOT },
  { what: "powerDraw", most: (gpu) => gpu.powerLimit, show: (watts) => text.header.power(whole(watts)) },
];

export function Gpus() {
  const { value, problem } = useAsked(() => call("org.fluxgym.Machine.GpuHistory", {}), { everyMs: REFRESH_MS });
  const { gpus = [], gpuProblem } = machine.value ?? {};
  return (
    <section class="panel stack" id="gpus">
      <h2>{says.title}</h2>
      {gpuProblem != null && <p class="refused"><Prose says={gpuProblem} /></p>}
      {gpus.length === 0 && gpuProblem == null && <p class="muted">{says.none}</p>}
      {gpus.map((gpu) => (
        <Card key={gpu.uuid} gpu={gpu} series={value?.history.find((one) => one.uuid === gpu.uuid)} />
      ))}
      {gpus.length > 0 && <p class="muted small">{says.gaps}</p>}
      {problem !== "" && <p class="refused"><Prose says={problem} /></p>}
    </section>
  );
}

function Card({ gpu, series }: { gpu: Gpu; series: GpuSeries | undefined }) {
  const end = async () => {
    await call("org.fluxgym.Machine.ClearQuarantine", { gpu: gpu.uuid });
    notify(says.ended(gpu.index));
  };
  return (
    <article class="stack">
      <div class="ends">
        <h3>{says.heading(gpu.index, gpu.name)}</h3>
        {gpu.job == null
          ? <span class="muted">{says.free}</span>
          : <span>{says.usedBy} <a href={at(`/jobs/${encodeURIComponent(gpu.job)}`)}>{gpu.job}</a></span>}
      </div>
      {gpu.putAside != null && (
        <div class="trouble stack" role="note">
          <p><b>{says.quarantined}</b> <Prose says={gpu.putAside} /></p>
          <p><Action words={says.end} run={end} /></p>
        </div>
      )}
      <dl class="hour">{ROWS.map((row) => <Reading key={row.what} row={row} gpu={gpu} series={series} />)}</dl>
    </article>
  );
}

function Reading({ row: { what, most, show, top }, gpu, series }: { row: Row; gpu: Gpu; series: GpuSeries | undefined }) {
  const present = gpu[what];
  if (present == null) return null;
  const limit = most(gpu);
  const values = series?.[what] ?? [];
  const range = rangeOf(values);
  const label = says.rows[what];
  const sentence = range === null
    ? says.noHour(label, show(present))
    : says.hour(label, show(present), show(range[0]), show(range[1]));
  const edge = top ?? limit ?? HEADROOM * Math.max(present, range?.[1] ?? 0, 1);
  return (
    <div>
      <dt>{label}</dt>
      <dd><b>{limit == null ? show(present) : says.of(show(present), show(limit))}</b></dd>
      <dd>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={sentence}>
          {linesOf(series?.time ?? [], values, edge, now.value).map((points) => <polyline key={points} points={points} />)}
        </svg>
      </dd>
      <dd class="muted small">{range !== null && says.between(show(range[0]), show(range[1]))}</dd>
    </div>
  );
}
