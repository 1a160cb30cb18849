// SPDX-License-Identifier: Apache-2.0
// The card of the watchdog: what it says about the job, what is left of each limit, and what it may do. Of a job that has
// ended, only the evidence of its hangs is shown.
import { call, type Output } from "../common/api.ts";
import { now } from "../common/clock.ts";
import { duration, moment, size } from "../common/format.ts";
import { notify } from "../common/notices.tsx";
import { Prose } from "../common/prose.tsx";
import { Pill } from "../common/shape.tsx";
import { hasEnded, type Look } from "../common/states.ts";
import { type Job, type JobFile, type RunningLimit, type Verdict, WatchdogMode } from "../generated/jobs.ts";
import { watchdog as says } from "../text/job.ts";
import { useFetched } from "./fetched.ts";
import { useFiles } from "./job-files.ts";
import { fileOf } from "./links.ts";
import { usePress } from "./press.ts";

const PAUSE_SECONDS = 3600;
const LOOKS: Record<Verdict, Pick<Look, "shape" | "tone">> = {
  healthy: { shape: "tick", tone: "good" },
  suspicious: { shape: "warning", tone: "warn" },
  stuck: { shape: "warning", tone: "bad" },
  not_watched: { shape: "pause", tone: "calm" },
};

type Told = Output<"org.fluxgym.Jobs.Watchdog">;

export function WatchdogCard({ job }: { job: Job }) {
  const { name } = job.context;
  const rests = hasEnded(job);
  // The limits move all the time, so a job that may be watched is asked about again with each tick of the clock.
  const tick = rests ? "" : Math.floor(now.value / 5);
  const { value: told, problem, again } = useFetched(`${name} ${job.runtime.state} ${tick}`, () =>
    call("org.fluxgym.Jobs.Watchdog", { name }));
  const evidence = (useFiles(job).value ?? []).filter(({ kind }) => kind === "evidence");
  if (rests && evidence.length === 0) return null;
  return (
    <section class="panel watchdog">
      <div class="titled">
        <h2>{says.title}</h2>
        {told !== null && !rests && <Pill look={{ words: says.verdicts[told.verdict], ...LOOKS[told.verdict] }} />}
      </div>
      {problem !== "" && <p class="refused">{problem}</p>}
      {told !== null && !rests && <Present job={job} told={told} again={again} />}
      {evidence.length > 0 && <Evidence of={job.context.name} files={evidence} />}
    </section>
  );
}

function Present({ job, told, again }: { job: Job; told: Told; again: () => void }) {
  return (
    <>
      {told.why != null && <p><b><Prose says={told.why} /></b></p>}
      {told.limits.length > 0 && <ul class="limits" aria-label={says.limits}>{told.limits.map((one) => <Limit key={one.rule} of={one} />)}</ul>}
      {told.explanation.length > 0 && (
        <details>
          <summary>{says.explanation}</summary>
          {told.explanation.map((one) => <p key={one} class="muted"><Prose says={one} /></p>)}
        </details>
      )}
      <Mode name={job.context.name} told={told} again={again} />
    </>
  );
}

function Limit({ of: { what, limit, left } }: { of: RunningLimit }) {
  const used = Math.min(limit, Math.max(0, limit - left));
  return (
    <li>
      <Prose says={what} />
      <progress max={limit} value={used} aria-label={what} class={left < 0 ? "over" : undefined} />
      <span class="muted">{left < 0 ? says.over(duration(-left)) : says.left(duration(left), duration(limit))}</span>
    </li>
  );
}

function Mode({ name, told, again }: { name: string; told: Told; again: () => void }) {
  const press = usePress();
  const set = (mode: WatchdogMode, until?: number) => press.run(async () => {
    await call("org.fluxgym.Jobs.SetWatchdog", { name, mode, ...(until !== undefined && { until }) });
    notify(says.did(says.modes[mode]));
    again();
  });
  const pauses = told.mode === "off" && told.until != null;
  return (
    <div class="mode">
      <label class="field">
        {says.mode}
        <select value={told.mode} disabled={press.busy.value}
          onChange={(event) => set(WatchdogMode.find((mode) => mode === event.currentTarget.value) ?? told.mode)}>
          {WatchdogMode.map((mode) => <option key={mode} value={mode}>{says.modes[mode]}</option>)}
        </select>
      </label>
      {told.until != null && told.then != null && (
        <p class="muted">{says.until(moment(told.until, now.value), says.modes[told.then])}</p>
      )}
      {pauses && told.then != null && <button onClick={() => set(told.then ?? "warn")}>{says.end}</button>}
      {told.mode !== "off" && <button onClick={() => set("off", Date.now() / 1000 + PAUSE_SECONDS)}>{says.pause}</button>}
      {press.refused.value !== "" && <p class="refused" role="alert"><Prose says={press.refused.value} /></p>}
    </div>
  );
}

function Evidence({ of, files }: { of: string; files: readonly JobFile[] }) {
  return (
    <details>
      <summary>{says.evidence} ({files.length})</summary>
      <ul class="plain">
        {files.map((file) => (
          <li key={file.name}>
            <a href={fileOf(of, file.name)} download>{file.name}</a> <span class="muted">{size(file.size)}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}
