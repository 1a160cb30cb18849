// SPDX-License-Identifier: Apache-2.0
// The sections of a job's screen. The one without an id is shown first.
import type { ComponentChildren } from "preact";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { Files } from "./files.tsx";
import { Log } from "./log.tsx";
import { Overview } from "./overview.tsx";
import { Samples } from "./samples/samples.tsx";
import { Settings } from "./settings.tsx";

const says = text.job.sections;

type Section = { id: string; words: string; show: (job: Job) => ComponentChildren };

export const SECTIONS: readonly Section[] = [
  { id: "", words: says.overview, show: (job) => <Overview job={job} /> },
  { id: "samples", words: says.samples, show: (job) => <Samples job={job} /> },
  { id: "log", words: says.log, show: (job) => <Log key={job.runtime.id} job={job} /> },
  { id: "files", words: says.files, show: (job) => <Files key={job.runtime.id} job={job} /> },
  { id: "settings", words: says.settings, show: (job) => <Settings key={job.runtime.id} job={job} /> },
];
