// SPDX-License-Identifier: Apache-2.0
// The section that is shown first: cards, the wide ones in the first column.
import type { Job } from "../generated/jobs.ts";
import { About } from "./about.tsx";

export function Overview({ job }: { job: Job }) {
  return (
    <div class="overview">
      <div />
      <div><About job={job} /></div>
    </div>
  );
}
