// SPDX-License-Identifier: Apache-2.0
// Samples as a table: a row for each prompt, a column for each moment of the training.
import type { JobFile, Sample } from "../../generated/jobs.ts";

// `id`: for the URL, such as e4 or s120. `samples`: by the number of the prompt.
export type Moment = { id: string; epoch: number | null; step: number | null; samples: ReadonlyMap<number, Sample> };
export type Row = { number: number; prompt: string | null };
export type Grid = { rows: Row[]; moments: Moment[] };

// The samples are in the order of the training. After a resume a moment is drawn again: the newest counts.
export function gridOf(samples: readonly Sample[]): Grid {
  const rows = new Map<number, Row>();
  const moments = new Map<string, Moment & { samples: Map<number, Sample> }>();
  for (const sample of samples) {
    const { number, epoch = null, step = null } = sample;
    const id = epoch !== null ? `e${epoch}` : `s${step ?? sample.createdAt}`;
    const moment = moments.get(id) ?? { id, epoch, step, samples: new Map() };
    moments.set(id, moment);
    const before = moment.samples.get(number);
    if (before === undefined || before.createdAt <= sample.createdAt) moment.samples.set(number, sample);
    rows.set(number, { number, prompt: sample.prompt ?? rows.get(number)?.prompt ?? null });
  }
  return { rows: [...rows.values()].sort((a, b) => a.number - b.number), moments: [...moments.values()] };
}

// The LoRA that was saved at this moment.
export function loraOf({ epoch, step }: Moment, files: readonly JobFile[]): JobFile | undefined {
  const loras = files.filter(({ kind }) => kind === "lora");
  return loras.find((file) => (step !== null && file.step === step && step > 0) || (epoch !== null && epoch > 0 && file.epoch === epoch));
}

export type Place = { row: number; column: number };
export type Move = "left" | "right" | "up" | "down" | "first" | "last";

// Where a key or a swipe leads. Beyond an edge it stays.
export function moved({ row, column }: Place, move: Move, rows: number, columns: number): Place {
  const within = (value: number, count: number) => Math.max(0, Math.min(count - 1, value));
  switch (move) {
    case "left": return { row, column: within(column - 1, columns) };
    case "right": return { row, column: within(column + 1, columns) };
    case "up": return { row: within(row - 1, rows), column };
    case "down": return { row: within(row + 1, rows), column };
    case "first": return { row, column: 0 };
    case "last": return { row, column: within(columns - 1, columns) };
  }
}

// The direction in which a finger went; null if it was a tap.
export function swipe(x: number, y: number, least = 40): Move | null {
  if (Math.max(Math.abs(x), Math.abs(y)) < least) return null;
  if (Math.abs(x) > Math.abs(y)) return x < 0 ? "right" : "left";
  return y < 0 ? "down" : "up";
}
