// SPDX-License-Identifier: Apache-2.0
// The section that is shown first: cards, the wide ones in the first column. A program has no measurements, so its
// timeline takes their place.
import { trains } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";
import { About } from "./about.tsx";
import { Finished } from "./finished.tsx";
import { Loss } from "./loss.tsx";
import { Latest } from "./samples/latest.tsx";
import { Timeline } from "./timeline.tsx";
import { WatchdogCard } from "./watchdog.tsx";

export function Overview({ job }: { job: Job }) {
  return (
    <div class="overview">
      <div>
        <Finished job={job} />
        {trains(job) ? <><Loss job={job} /><Latest job={job} /></> : <Timeline job={job} />}
      </div>
      <div>
        <WatchdogCard job={job} />
        <About job={job} />
        {trains(job) && <Timeline job={job} />}
      </div>
    </div>
  );
}
