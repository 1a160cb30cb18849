// SPDX-License-Identifier: Apache-2.0
// What a screen asks the daemon once, and again when it is another daemon.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { sentence } from "./api.ts";
import { machine } from "./live.ts";

export type Asked<T> = { value: T | null; problem: string; ask: () => Promise<void> };

// `key`: asks again when it changes. `everyMs`: and so often.
export function useAsked<T>(question: () => Promise<T>, { key = "", everyMs = 0 } = {}): Asked<T> {
  const value = useSignal<T | null>(null);
  const problem = useSignal("");
  const ask = async () => {
    try {
      value.value = await question();
      problem.value = "";
    } catch (refused) {
      problem.value = sentence(refused);
    }
  };
  const instance = machine.value?.instance;
  useEffect(() => {
    void ask();
    if (everyMs === 0) return;
    const timer = setInterval(() => document.hidden || void ask(), everyMs);
    return () => clearInterval(timer);
  }, [instance, key]);
  return { value: value.value, problem: problem.value, ask };
}
