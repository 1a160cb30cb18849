// SPDX-License-Identifier: Apache-2.0
// The jobs that are ticked in the table, by name. A job that is gone is not chosen any more.
import { computed, signal } from "@preact/signals";
import { known } from "./older.ts";

const ticked = signal<ReadonlySet<string>>(new Set());

export const chosen = computed(() => [...ticked.value].flatMap((name) => known.value.get(name) ?? []));

export function isTicked(name: string): boolean {
  return ticked.value.has(name);
}

export function tick(names: readonly string[], on: boolean): void {
  const next = new Set(ticked.value);
  for (const name of names) on ? next.add(name) : next.delete(name);
  ticked.value = next;
}

export function untickAll(): void {
  ticked.value = new Set();
}
