// SPDX-License-Identifier: Apache-2.0
// Which settings are shown, by group. The filter is in the URL: ?q=idle&changed=1.
import type { Setting } from "../generated/machine.ts";

export function isChanged({ value, default: usual }: Setting): boolean {
  return value !== usual;
}

export function fits(setting: Setting, words: string, onlyChanged: boolean): boolean {
  const { key, value, variable, about } = setting;
  const whole = [key, value, variable, about ?? ""].join("\n").toLowerCase();
  return (!onlyChanged || isChanged(setting)) && words.toLowerCase().split(/\s+/).every((word) => whole.includes(word));
}

// The settings by the table of config.toml in which they are; those in none have the group "".
export function grouped(settings: readonly Setting[]): [string, Setting[]][] {
  const groups = new Map<string, Setting[]>();
  for (const setting of settings) {
    const group = setting.key.slice(0, Math.max(0, setting.key.lastIndexOf(".")));
    groups.set(group, [...(groups.get(group) ?? []), setting]);
  }
  return [...groups];
}
