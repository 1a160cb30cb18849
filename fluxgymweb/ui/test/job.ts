// SPDX-License-Identifier: Apache-2.0
// A job for a test.
import type { Annotation, Job, Runtime } from "../src/generated/jobs.ts";

export function job(name: string, runtime: Partial<Runtime> = {}, annotation?: Partial<Annotation>): Job {
  return {
    context: { name },
    runtime: { id: name, state: "queued", submittedAt: 1000, home: `/h/${name}`, stepsLost: 0, ...runtime },
    ...(annotation && { annotation: { tags: [], ...annotation } }),
  };
}
