// SPDX-License-Identifier: Apache-2.0
// Text to read and to copy.
import { complain, notify } from "../common/notices.tsx";
import { copying } from "../text/job.ts";

export async function copy(what: string, said = copying.copied): Promise<void> {
  try {
    await navigator.clipboard.writeText(what);
    notify(said);
  } catch {
    complain(copying.failed); // the clipboard is for secure pages alone
  }
}

export function Copyable({ says }: { says: string }) {
  return (
    <div class="copyable">
      <pre tabIndex={0}><code>{says}</code></pre>
      <button class="quiet" onClick={() => void copy(says)}>{copying.copy}</button>
    </div>
  );
}
