// SPDX-License-Identifier: Apache-2.0
// The path below which a proxy serves this page; empty without one. The server writes it into the HTML.

const ROOT = document.documentElement.dataset["root"] ?? "";

export function at(path: string): string {
  return ROOT + path;
}

export function within(path: string): string {
  return path.startsWith(ROOT) ? path.slice(ROOT.length) : path;
}

// The version of the server that this page came from.
export const VERSION = document.documentElement.dataset["version"] ?? "";
