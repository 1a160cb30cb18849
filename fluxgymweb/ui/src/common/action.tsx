// SPDX-License-Identifier: Apache-2.0
// A button that does something, with the daemon's sentence beside it if that is refused.
import { useSignal } from "@preact/signals";
import { sentence } from "./api.ts";
import { Prose } from "./prose.tsx";

type Props = { words: string; run: () => Promise<unknown>; label?: string; tone?: "strong" | "quiet"; disabled?: boolean };

export function Action({ words, run, label, tone, disabled = false }: Props) {
  const busy = useSignal(false);
  const refused = useSignal("");
  const begin = async () => {
    if (busy.value) return; // it stays enabled, or it would lose the focus
    busy.value = true;
    refused.value = "";
    try {
      await run();
    } catch (problem) {
      refused.value = sentence(problem);
    }
    busy.value = false;
  };
  return (
    <>
      <button type="button" class={tone} aria-label={label} aria-busy={busy.value} disabled={disabled}
        onClick={() => void begin()}>{words}</button>
      {refused.value !== "" && <span class="refused" role="alert"><Prose says={refused.value} /></span>}
    </>
  );
}
