// SPDX-License-Identifier: Apache-2.0
// The files of a job, asked for again when it may have written some.
import { call } from "../common/api.ts";
import type { Job, JobFile } from "../generated/jobs.ts";
import { type Fetched, stageOf, useFetched } from "./fetched.ts";

export function useFiles(job: Job): Fetched<JobFile[]> {
  const { name } = job.context;
  return useFetched(stageOf(job), async () => (await call("org.fluxgym.Jobs.Files", { name })).files);
}
