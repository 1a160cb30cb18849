// SPDX-License-Identifier: Apache-2.0
// The section that is shown first: cards, the wide ones in the first column.
import type { Job } from "../generated/jobs.ts";
import { About } from "./about.tsx";
import { Loss } from "./loss.tsx";

export function Overview({ job }: { job: Job }) {
  return (
    <div class="overview">
      <div>{job.context.kind !== "program" && <Loss job={job} />}</div>
      <div><About job={job} /></div>
    </div>
  );
}
