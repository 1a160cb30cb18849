// SPDX-License-Identifier: Apache-2.0
// What somebody should know who was away: counts, then what went wrong in full, then whether they are needed.
import { percentDone } from "../common/progress.ts";
import { ACTIVE } from "../common/states.ts";
import type { Event, EventKind, Job } from "../generated/jobs.ts";
import { needsSomeone } from "./filter.ts";

export type Summary = {
  counts: [EventKind, number][];
  exceptions: Event[];
  running: { name: string; done: number | null }[];
  needing: string[];
};

const COUNTED: readonly EventKind[] = ["completed", "failed", "stopped", "cancelled", "restarted", "submitted"];
const EXCEPTIONS: readonly EventKind[] = ["failed", "stuck", "lost", "interrupted", "restarted"];
const MOST_EXCEPTIONS = 6;

export function summarise(events: readonly Event[], jobs: ReadonlyMap<string, Job>): Summary {
  // A job that was replaced by another one of its name is not the one of the event.
  const ids = new Set(events.map((event) => event.id));
  const present = [...jobs.values()];
  const running = present.filter((job) => ACTIVE.includes(job.runtime.state));
  return {
    counts: COUNTED.flatMap((kind): [EventKind, number][] => {
      const number = events.filter((event) => event.kind === kind).length;
      return number === 0 ? [] : [[kind, number]];
    }),
    exceptions: events.filter((event) => EXCEPTIONS.includes(event.kind)).slice(-MOST_EXCEPTIONS),
    running: running.map((job) => ({ name: job.context.name, done: percentDone(job) })),
    needing: present.filter((job) => ids.has(job.runtime.id) && needsSomeone(job)).map((job) => job.context.name),
  };
}
