// SPDX-License-Identifier: Apache-2.0
// The GPUs in the header: the first one in use, and all of them in a popover.
import type { Gpu } from "../generated/machine.ts";
import { text } from "../text.ts";
import { decimal, whole } from "./format.ts";
import { machine } from "./live.ts";
import { at } from "./root.ts";

const GIB = 1024 ** 3;

export function inOrder(gpus: readonly Gpu[]): Gpu[] {
  const used = (gpu: Gpu) => (gpu.job == null ? 1 : 0);
  return [...gpus].sort((a, b) => used(a) - used(b) || a.index - b.index);
}

export function GpuStrip() {
  const state = machine.value;
  if (state === null) return <div class="gpus" />;
  const [first, ...rest] = inOrder(state.gpus);
  if (first === undefined) {
    return <div class="gpus" title={state.gpuProblem ?? undefined}>{text.header.noGpu}</div>;
  }
  return (
    <div class="gpus">
      <Reading gpu={first} />
      {rest.length > 0 && (
        <>
          <button class="quiet" popovertarget="gpus">+{rest.length}<span class="unseen"> {text.header.gpus}</span></button>
          <div id="gpus" class="panel" popover="auto">
            {inOrder(state.gpus).map((gpu) => (
              <p key={gpu.uuid}>
                <span>{text.header.gpu(gpu.index)}</span><Reading gpu={gpu} />
                {gpu.job != null && <a href={at(`/jobs/${encodeURIComponent(gpu.job)}`)}>{gpu.job}</a>}
              </p>
            ))}
          </div>
        </>
      )}
    </div>
  );
}

function Reading({ gpu }: { gpu: Gpu }) {
  return (
    <>
      <span class="wide">{gpu.name.replace(/^NVIDIA (GeForce )?/, "")}</span>
      {gpu.utilization != null && <span><b>{text.units.percent(gpu.utilization)}</b> {text.header.busy}</span>}
      {gpu.memoryUsed != null && gpu.memoryTotal != null && (
        <span class="wide"><b>{decimal(gpu.memoryUsed / GIB, 1)}</b>/{whole(gpu.memoryTotal / GIB)} {text.units.bytes[3]}</span>
      )}
      {gpu.temperature != null && <span><b>{text.header.temperature(gpu.temperature)}</b></span>}
      {gpu.powerDraw != null && <span class="wide"><b>{text.header.power(whole(gpu.powerDraw))}</b></span>}
    </>
  );
}
