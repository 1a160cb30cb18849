// SPDX-License-Identifier: Apache-2.0
// The sections of a job's screen. The one without an id is shown first.
import type { ComponentChildren } from "preact";
import { trains } from "../common/states.ts";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { Files } from "./files.tsx";
import { Log } from "./log.tsx";
import { Overview } from "./overview.tsx";
import { Samples } from "./samples/samples.tsx";
import { Settings } from "./settings.tsx";

const says = text.job.sections;

export type Section = { id: string; words: string; show: (job: Job) => ComponentChildren };

const SECTIONS: readonly Section[] = [
  { id: "", words: says.overview, show: (job) => <Overview job={job} /> },
  { id: "samples", words: says.samples, show: (job) => <Samples job={job} /> },
  { id: "log", words: says.log, show: (job) => <Log key={job.runtime.id} job={job} /> },
  { id: "files", words: says.files, show: (job) => <Files key={job.runtime.id} job={job} /> },
  { id: "settings", words: says.settings, show: (job) => <Settings key={job.runtime.id} job={job} /> },
];

// The sections of a job: only a training draws samples.
export function sectionsOf(job: Job): readonly Section[] {
  return SECTIONS.filter(({ id }) => id !== "samples" || trains(job));
}
