// SPDX-License-Identifier: Apache-2.0
// What a screen asks the daemon for, again whenever its key changes. What was fetched before stays until then.
import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { sentence } from "../common/api.ts";
import type { Job } from "../generated/jobs.ts";

export type Fetched<T> = { value: T | null; problem: string; again: () => void };

export function useFetched<T>(key: string, fetch: () => Promise<T>): Fetched<T> {
  const value: Signal<T | null> = useSignal<T | null>(null);
  const problem = useSignal("");
  const round = useSignal(0);
  useEffect(() => {
    let wanted = true;
    fetch().then(
      (found) => {
        if (!wanted) return;
        value.value = found;
        problem.value = "";
      },
      (refused: unknown) => {
        if (wanted) problem.value = sentence(refused);
      },
    );
    return () => { wanted = false; };
  }, [key, round.value]);
  return { value: value.value, problem: problem.value, again: () => { round.value += 1; } };
}

// Changes whenever the job may have written files or a line of its journal.
export function stageOf({ context, runtime, annotation }: Job): string {
  const { state, waitingFor, attempt, progress, restarts, watchdog } = runtime;
  const parts = [
    context.name, runtime.id, state, waitingFor, attempt?.number, attempt?.endedAt, progress?.phase, progress?.epoch,
    restarts, watchdog?.verdict, context.watchdog, context.priority, annotation,
  ];
  return JSON.stringify(parts);
}
