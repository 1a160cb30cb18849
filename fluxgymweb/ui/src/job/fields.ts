// SPDX-License-Identifier: Apache-2.0
// The settings of a job as lines, under their names in a spec file.
import type { Context } from "../generated/jobs.ts";

export function fieldsOf(context: Context): [string, string][] {
  return Object.entries(context).flatMap(([name, value]) => lines(snake(name), value));
}

// Tables become a line for each of their keys, such as trainer_options.optimizer_type.
function lines(name: string, value: unknown): [string, string][] {
  if (value == null) return [];
  if (Array.isArray(value)) {
    const plain = value.every((one) => typeof one !== "object");
    if (plain) return value.length === 0 && !name.includes(".") ? [] : [[name, value.length === 0 ? "true" : value.join("\n")]];
    return value.flatMap((one, number) => lines(`${name}.${number + 1}`, one));
  }
  if (typeof value !== "object") return [[name, String(value)]];
  const isFree = name === "trainer_options" || name === "watchdog_limits";
  return Object.entries(value).flatMap(([key, one]) => lines(`${name}.${isFree ? key : snake(key)}`, one));
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
