// SPDX-License-Identifier: Apache-2.0
// The card with what the job is.
import { now } from "../common/clock.ts";
import { decimal, moment, whole } from "../common/format.ts";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";

const says = text.job.about;

export function About({ job: { context, runtime, annotation } }: { job: Job }) {
  const sides = context.resolutions ?? (context.resolution == null ? [] : [context.resolution]);
  const datasets = context.parts?.map((part) => part.dataset) ?? (context.dataset == null ? [] : [context.dataset]);
  const attempt = runtime.attempt;
  const rows: [string, string | null | undefined][] = [
    [says.group, annotation?.group],
    [says.tags, annotation?.tags.join(", ")],
    [says.dataset, datasets.join(", ")],
    [says.trigger, context.triggerWord],
    [says.resolution, sides.map((side) => whole(side)).join(", ")],
    [says.submitted, runtime.submittedAt > 0 ? moment(runtime.submittedAt, now.value) : null],
    [says.attempt, attempt == null ? null : says.since(attempt.number, moment(attempt.startedAt, now.value))],
    [says.resumed, attempt?.resumedFrom],
    [says.lost, runtime.stepsLost > 0 ? whole(runtime.stepsLost) : null],
    [says.loss, runtime.progress?.averageLoss == null ? null : decimal(runtime.progress.averageLoss, 4)],
  ];
  return (
    <section class="panel">
      <h2>{says.title}</h2>
      <dl class="pairs">
        {rows.map(([what, value]) => value != null && value !== "" && (
          <div key={what}><dt>{what}</dt><dd>{value}</dd></div>
        ))}
      </dl>
      {annotation?.note != null && <p class="note">{annotation.note}</p>}
    </section>
  );
}
