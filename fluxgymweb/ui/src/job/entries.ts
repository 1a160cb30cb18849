// SPDX-License-Identifier: Apache-2.0
// What happened to a job, newest first: its events, with the saves and samples among its files woven in.
import { whole } from "../common/format.ts";
import type { Tone } from "../common/states.ts";
import type { Event, EventKind, JobFile } from "../generated/jobs.ts";
import { timeline as says } from "../text/job.ts";

// `isDetail`: only for those who want to see everything.
export type Entry = { at: number; text: string; tone: Tone; isDetail: boolean };

const TONES: Partial<Record<EventKind, Tone>> = {
  failed: "bad", stuck: "bad", lost: "bad", restarted: "warn", interrupted: "warn", completed: "good",
};

export function entriesOf(events: readonly Event[], files: readonly JobFile[]): Entry[] {
  const told = events.map(({ at, text, kind }): Entry => ({ at, text, tone: TONES[kind] ?? "busy", isDetail: kind === "other" }));
  const saves = together(files.filter(({ kind }) => kind === "lora" || kind === "state"));
  const samples = together(files.filter(({ kind }) => kind === "sample"));
  const woven = [
    ...told,
    ...saves.map((group) => entryOf(group, says.saved(wordsOf(group)))),
    ...samples.map((group) => entryOf(group, says.samples(group.length))),
  ];
  // What happened in the same moment stays in the order in which it was told.
  return woven.map((entry, place) => ({ entry, place }))
    .sort((a, b) => b.entry.at - a.entry.at || b.place - a.place)
    .map(({ entry }) => entry);
}

// The files of one moment of the training. Others, such as a sheet of all samples, belong to none.
function together(files: readonly JobFile[]): JobFile[][] {
  const groups = new Map<string, JobFile[]>();
  for (const file of files) {
    if (file.epoch == null && file.step == null) continue;
    const key = `${file.epoch} ${file.step}`;
    groups.set(key, [...(groups.get(key) ?? []), file]);
  }
  return [...groups.values()];
}

function entryOf(files: readonly JobFile[], text: string): Entry {
  const [first] = files;
  const where = says.at(first?.epoch == null ? null : whole(first.epoch), first?.step == null ? null : whole(first.step));
  return { at: Math.max(...files.map((file) => file.createdAt)), text: `${text} · ${where}`, tone: "calm", isDetail: false };
}

function wordsOf(files: readonly JobFile[]): string {
  const kinds = new Set(files.map(({ kind }) => kind));
  return kinds.size === 2 ? says.both : kinds.has("lora") ? says.lora : says.state;
}
