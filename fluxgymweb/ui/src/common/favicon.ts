// SPDX-License-Identifier: Apache-2.0
// Keeps the tab's title and picture up to date, hidden or not. The picture is a ring that fills, or a disc with a
// tick, a cross or a square.
import { effect } from "@preact/signals";
import { now } from "./clock.ts";
import { shown } from "./live.ts";
import { viewedJob } from "./route.ts";
import { type Badge, type End, NOTHING, remember, tabOf } from "./tab.ts";

const SIDE = 32;
const MIDDLE = SIDE / 2;
const TURN = 2 * Math.PI;
const COLOURS = { ring: "#d8d2c8", done: "#d9572c", completed: "#2b9a59", failed: "#d3423a", stopped: "#8d877d" };

export function showInTab(): void {
  let memory = NOTHING;
  let drawn = "";
  effect(() => {
    memory = remember(memory, shown.value);
    const { title, badge } = tabOf(memory, shown.value, now.value, viewedJob.value);
    document.title = title;
    if (drawn === (drawn = JSON.stringify(badge))) return;
    document.querySelector<HTMLLinkElement>("link[rel=icon]")?.setAttribute("href", draw(badge));
  });
}

function draw({ done, end }: Badge): string {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const pen = canvas.getContext("2d");
  if (pen === null) return "data:,";
  if (end !== null) mark(pen, end);
  else {
    arc(pen, TURN, done === null ? COLOURS.done : COLOURS.ring);
    arc(pen, (TURN * (done ?? 0)) / 100, COLOURS.done);
  }
  return canvas.toDataURL();
}

function arc(pen: CanvasRenderingContext2D, angle: number, colour: string): void {
  pen.lineWidth = 6;
  pen.strokeStyle = colour;
  pen.beginPath();
  pen.arc(MIDDLE, MIDDLE, 12, -TURN / 4, angle - TURN / 4);
  pen.stroke();
}

// Points of each mark: x, y, and whether a line leads there.
const MARKS: Record<End, [number, number, boolean][]> = {
  completed: [[9, 17, false], [14, 22, true], [23, 11, true]],
  failed: [[11, 11, false], [21, 21, true], [21, 11, false], [11, 21, true]],
  stopped: [[11, 11, false], [21, 11, true], [21, 21, true], [11, 21, true], [11, 11, true]],
};

function mark(pen: CanvasRenderingContext2D, end: End): void {
  pen.fillStyle = COLOURS[end];
  pen.beginPath();
  pen.arc(MIDDLE, MIDDLE, 15, 0, TURN);
  pen.fill();
  pen.strokeStyle = "#fff";
  pen.lineWidth = 4;
  pen.lineCap = "round";
  pen.beginPath();
  for (const [x, y, draws] of MARKS[end]) draws ? pen.lineTo(x, y) : pen.moveTo(x, y);
  pen.stroke();
}
