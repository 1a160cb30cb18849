// SPDX-License-Identifier: Apache-2.0
// The samples of a job, and its LoRAs. They are asked for again when the training may have drawn more.
import { API, call } from "../../common/api.ts";
import { type Asked, useAsked } from "../../common/asked.ts";
import type { Job, JobFile, Sample } from "../../generated/jobs.ts";

export type Drawn = { job: string; samples: Sample[]; files: JobFile[] };

const AGAIN_MS = 30_000;

export function useSamples({ context: { name }, runtime: { id, state, progress } }: Job): Asked<Drawn> {
  const key = [id, state, progress?.phase, progress?.phase === "sampling" && progress.done].join();
  return useAsked(async () => {
    const [{ samples }, { files }] = await Promise.all([
      call("org.fluxgym.Jobs.Samples", { name }), call("org.fluxgym.Jobs.Files", { name }),
    ]);
    return { job: name, samples, files };
  }, { key, everyMs: state === "running" ? AGAIN_MS : 0 });
}

// Where the server has a sample, and a small copy of it.
export function pictureOf(job: string, file: string): string {
  return `${API}/files/${encodeURIComponent(job)}/${encoded(file)}`;
}

export function thumbnailOf(job: string, file: string): string {
  return `${API}/thumbnails/jobs/${encodeURIComponent(job)}/${encoded(file)}?size=256`;
}

function encoded(file: string): string {
  return file.split("/").map(encodeURIComponent).join("/");
}
