// SPDX-License-Identifier: Apache-2.0
// Numbers and names in a sentence.

export function count(number: number, one: string, many: string): string {
  return `${new Intl.NumberFormat().format(number)} ${number === 1 ? one : many}`;
}

export function named(names: readonly string[]): string {
  return names.length === 1 ? names.join() : count(names.length, "job", "jobs");
}

export function all(names: readonly string[]): string {
  return new Intl.ListFormat("en", { type: "conjunction" }).format(names);
}
