// SPDX-License-Identifier: Apache-2.0
// What the browser's tab says: how far the job is, or how it ended, as a title and a picture of 32 pixels.
import { effect } from "@preact/signals";
import type { Job } from "../generated/jobs.ts";
import { text } from "../text.ts";
import { now } from "./clock.ts";
import { duration } from "./format.ts";
import { jobs } from "./live.ts";
import { percentDone, secondsLeft } from "./progress.ts";
import { ACTIVE } from "./states.ts";

export type Badge = { done: number | null; end: "completed" | "failed" | "stopped" | null };

export function showInTab(): void {
  const watched = new Set<string>();
  let drawn = "";
  effect(() => {
    for (const job of jobs.value.values()) if (ACTIVE.includes(job.runtime.state)) watched.add(job.runtime.id);
    const { title, badge } = tabOf(jobs.value.values(), watched, now.value);
    document.title = title;
    if (drawn === (drawn = JSON.stringify(badge))) return;
    document.querySelector<HTMLLinkElement>("link[rel=icon]")?.setAttribute("href", draw(badge));
  });
}

// `watched`: the ids of the jobs that this page has seen running, so that it can tell how they ended.
export function tabOf(jobs: Iterable<Job>, watched: ReadonlySet<string>, now: number): { title: string; badge: Badge } {
  let active: Job | null = null;
  let ended: Job | null = null;
  for (const job of jobs) {
    const { state, id } = job.runtime;
    if (ACTIVE.includes(state) && (percentDone(job) ?? -1) > (active === null ? -2 : (percentDone(active) ?? -1))) {
      active = job;
    }
    if (watched.has(id) && endOf(job) !== null && endedAt(job) >= (ended === null ? 0 : endedAt(ended))) ended = job;
  }
  if (active !== null) {
    const done = percentDone(active);
    const left = secondsLeft(active, now);
    const parts = [
      ...(done === null ? [] : [text.units.percent(done)]),
      active.context.name,
      ...(left === null ? [] : [duration(left)]),
    ];
    return { title: parts.join(" · "), badge: { done: done ?? 0, end: null } };
  }
  if (ended !== null) {
    const end = endOf(ended);
    return { title: `${end === "completed" ? "✓" : end === "failed" ? "✕" : "■"} ${ended.context.name}`, badge: { done: null, end } };
  }
  return { title: text.product, badge: { done: null, end: null } };
}

function endOf({ runtime: { state } }: Job): Badge["end"] {
  return state === "completed" || state === "failed" || state === "stopped" ? state : null;
}

function endedAt({ runtime }: Job): number {
  return runtime.attempt?.endedAt ?? 0;
}

const SIDE = 32;
const TURN = 2 * Math.PI;
const COLOURS = { ring: "#d8d2c8", done: "#d9572c", completed: "#2b9a59", failed: "#d3423a", stopped: "#8d877d" };

// Draws the picture: a ring that fills, or a disc with a tick, a cross or a square.
export function draw({ done, end }: Badge): string {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const pen = canvas.getContext("2d");
  if (pen === null) return "data:,";
  const middle = SIDE / 2;
  if (end !== null) {
    pen.fillStyle = COLOURS[end];
    pen.beginPath();
    pen.arc(middle, middle, 15, 0, TURN);
    pen.fill();
    pen.strokeStyle = pen.fillStyle = "#fff";
    pen.lineWidth = 4;
    pen.lineCap = "round";
    pen.beginPath();
    for (const [x, y, draws] of MARKS[end]) draws ? pen.lineTo(x, y) : pen.moveTo(x, y);
    pen.stroke();
    return canvas.toDataURL();
  }
  pen.lineWidth = 6;
  pen.strokeStyle = done === null ? COLOURS.done : COLOURS.ring;
  pen.beginPath();
  pen.arc(middle, middle, 12, 0, TURN);
  pen.stroke();
  pen.strokeStyle = COLOURS.done;
  pen.beginPath();
  pen.arc(middle, middle, 12, -TURN / 4, -TURN / 4 + (TURN * (done ?? 0)) / 100);
  pen.stroke();
  return canvas.toDataURL();
}

// Points of each mark: x, y, and whether a line leads there.
const MARKS: Record<NonNullable<Badge["end"]>, [number, number, boolean][]> = {
  completed: [[9, 17, false], [14, 22, true], [23, 11, true]],
  failed: [[11, 11, false], [21, 21, true], [21, 11, false], [11, 21, true]],
  stopped: [[11, 11, false], [21, 11, true], [21, 21, true], [11, 21, true], [11, 11, true]],
};
