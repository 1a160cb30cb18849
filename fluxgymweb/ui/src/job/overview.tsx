// SPDX-License-Identifier: Apache-2.0
// The section that is shown first: cards, the wide ones in the first column.
import type { Job } from "../generated/jobs.ts";
import { About } from "./about.tsx";
import { Finished } from "./finished.tsx";
import { Loss } from "./loss.tsx";
import { Timeline } from "./timeline.tsx";
import { WatchdogCard } from "./watchdog.tsx";

export function Overview({ job }: { job: Job }) {
  return (
    <div class="overview">
      <div>
        <Finished job={job} />
        {job.context.kind !== "program" && <Loss job={job} />}
      </div>
      <div>
        <WatchdogCard job={job} />
        <About job={job} />
        <Timeline job={job} />
      </div>
    </div>
  );
}
