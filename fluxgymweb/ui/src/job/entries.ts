// SPDX-License-Identifier: Apache-2.0
// What happened to a job, newest first: its history, with the saves and samples among its files woven in.
import { whole } from "../common/format.ts";
import type { JobFile } from "../generated/jobs.ts";
import { timeline as says } from "../text/job.ts";

export type Entry = { at: number; text: string; kind: "event" | "save" | "samples" };
export type Event = { at: number; text: string };

export function entriesOf(history: readonly Event[], files: readonly JobFile[]): Entry[] {
  const events = history.map((one): Entry => ({ ...one, kind: "event" }));
  const saves = together(files.filter(({ kind }) => kind === "lora" || kind === "state"));
  const samples = together(files.filter(({ kind }) => kind === "sample"));
  const woven = [
    ...events,
    ...saves.map((group): Entry => ({ at: lastOf(group), text: says.saved(wordsOf(group)) + whereOf(group), kind: "save" })),
    ...samples.map((group): Entry => ({ at: lastOf(group), text: says.samples(group.length) + whereOf(group), kind: "samples" })),
  ];
  // What happened in the same moment stays in the order in which it was told.
  return woven.map((entry, place) => ({ entry, place }))
    .sort((a, b) => b.entry.at - a.entry.at || b.place - a.place)
    .map(({ entry }) => entry);
}

// The files of one moment of the training.
function together(files: readonly JobFile[]): JobFile[][] {
  const groups = new Map<string, JobFile[]>();
  for (const file of files) {
    const key = file.epoch == null && file.step == null ? `t${Math.round(file.createdAt)}` : `${file.epoch} ${file.step}`;
    groups.set(key, [...(groups.get(key) ?? []), file]);
  }
  return [...groups.values()];
}

function lastOf(files: readonly JobFile[]): number {
  return Math.max(...files.map((file) => file.createdAt));
}

function wordsOf(files: readonly JobFile[]): string {
  const kinds = new Set(files.map(({ kind }) => kind));
  return kinds.size === 2 ? says.both : kinds.has("lora") ? says.lora : says.state;
}

function whereOf([file]: readonly JobFile[]): string {
  const where = says.at(file?.epoch == null ? null : whole(file.epoch), file?.step == null ? null : whole(file.step));
  return where === "" ? "" : ` · ${where}`;
}
