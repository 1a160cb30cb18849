// SPDX-License-Identifier: Apache-2.0
// Keys that work anywhere. A single letter never fires while one types, and all of them can be switched off.
import { useEffect } from "preact/hooks";
import { keep, kept } from "./kept.ts";

const PREFIX_MS = 1_500;

const bound = new Map<string, () => void>();
let prefix = "";
let prefixAt = 0;

export function keysAreOn(): boolean {
  return kept("keys") !== "off";
}

export function switchKeys(on: boolean): void {
  keep("keys", on ? null : "off");
}

// Binds keys such as "?", "/" or "g j" while the component is shown. `bindings` has to be the same object each time.
export function useKeys(bindings: Record<string, () => void>): void {
  useEffect(() => {
    for (const [key, run] of Object.entries(bindings)) bound.set(key, run);
    return () => {
      for (const [key, run] of Object.entries(bindings)) if (bound.get(key) === run) bound.delete(key);
    };
  }, [bindings]);
}

export function listenForKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (!keysAreOn() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]") !== null) return;
    const whole = Date.now() - prefixAt < PREFIX_MS ? `${prefix} ${event.key}` : event.key;
    const run = bound.get(whole) ?? bound.get(event.key);
    prefix = run === undefined ? event.key : "";
    prefixAt = Date.now();
    if (run === undefined) return;
    event.preventDefault();
    run();
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input:not([type=checkbox], [type=radio]), textarea, select"));
}
