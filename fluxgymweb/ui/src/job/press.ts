// SPDX-License-Identifier: Apache-2.0
// A control that may be refused: it is off while its call runs, and the daemon's sentence is shown beside it.
import { type Signal, useSignal } from "@preact/signals";
import { sentence } from "../common/api.ts";

export type Press = { busy: Signal<boolean>; refused: Signal<string>; run: (act: () => Promise<void>) => void };

export function usePress(): Press {
  const busy = useSignal(false);
  const refused = useSignal("");
  const run = (act: () => Promise<void>) => {
    if (busy.value) return;
    busy.value = true;
    refused.value = "";
    act().catch((problem: unknown) => { refused.value = sentence(problem); }).finally(() => { busy.value = false; });
  };
  return { busy, refused, run };
}
