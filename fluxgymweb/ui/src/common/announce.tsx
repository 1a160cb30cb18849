// SPDX-License-Identifier: Apache-2.0
// What a screen reader is told, politely: changes of state, and the outcome of what the user did.
import { signal } from "@preact/signals";

const said = signal("");

export function announce(sentence: string): void {
  // The same sentence again is only read if the region has changed.
  said.value = said.value === sentence ? `${sentence}\u00a0` : sentence;
}

export function LiveRegion() {
  return <div class="unseen" role="status" aria-live="polite">{said}</div>;
}
