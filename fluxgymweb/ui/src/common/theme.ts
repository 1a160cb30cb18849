// SPDX-License-Identifier: Apache-2.0
// Auto, light or dark, as <html data-theme>; the style sheet does the rest.
import { keep, kept } from "./kept.ts";

export const Theme = ["auto", "light", "dark"] as const;
export type Theme = (typeof Theme)[number];

export function chosenTheme(): Theme {
  const stored = kept("theme");
  return Theme.find((theme) => theme === stored) ?? "auto";
}

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = chosenTheme();
}

export function chooseTheme(theme: Theme): void {
  keep("theme", theme === "auto" ? null : theme);
  applyTheme();
}
