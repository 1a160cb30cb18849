// SPDX-License-Identifier: Apache-2.0
// What this browser remembers: matters of taste, and what was seen last. Everything else is the daemon's.

export type Key = "theme" | "keys" | "wrap" | "seen" | "seenAt" | "smoothing";

export function kept(key: Key): string | null {
  try {
    return localStorage.getItem(`fluxgym.${key}`);
  } catch {
    return null; // storage is switched off
  }
}

export function keep(key: Key, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`fluxgym.${key}`);
    else localStorage.setItem(`fluxgym.${key}`, value);
  } catch {
    // Nothing is remembered then.
  }
}
