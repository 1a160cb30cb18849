// SPDX-License-Identifier: Apache-2.0
// The time in seconds since 1970, every few seconds: enough for ages and times left.
import { signal } from "@preact/signals";

const TICK_MS = 5_000;

export const now = signal(Date.now() / 1000);

setInterval(() => {
  now.value = Date.now() / 1000;
}, TICK_MS);
